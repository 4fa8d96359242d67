"""Finding clusters among a session's points."""
