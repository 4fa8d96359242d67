"""Fetching from the web without being led astray, and reading what came."""
