"""The real servers that tests run against: found or started, and always stopped again."""
