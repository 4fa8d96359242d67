"""The tools, a module for each kind of work; all are thin over the library."""
