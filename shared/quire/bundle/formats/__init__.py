"""Points in the files of others, and in forms that others read: JSONL, CSV, Parquet, the JSON of
the original session service, Qdrant's snapshots.

`detection` tells what a file is, `reading` reads it, `writing` writes one. All of it holds some
hundred points in memory, however long the file.
"""
