"""The Model Context Protocol over the library."""
