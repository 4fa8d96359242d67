"""What turns text into vectors: so far, the default model's weights."""
