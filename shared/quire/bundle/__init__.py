"""Sessions and points as files: the bundle, and Parquet. What is in them is the caller's matter."""
