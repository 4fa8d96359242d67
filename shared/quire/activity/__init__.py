"""What is said and done in a session: messages, invocations, data, attachments."""
