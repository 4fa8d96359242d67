"""Moving points between sessions and files: merge, split, fork, export, import, checkpoints."""
