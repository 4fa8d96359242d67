"""A process that runs jobs."""
