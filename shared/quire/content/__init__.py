"""What a session holds: documents, cut into chunks, each a point of its collection."""
