"""What happens in sessions, told to whoever listens."""
