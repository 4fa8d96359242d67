"""The Model Context Protocol over the library."""

PATH = "/mcp"
"""Where it is served, beside the API."""
