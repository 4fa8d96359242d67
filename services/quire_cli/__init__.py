"""`quire …`: serving, running jobs, looking after an installation."""
