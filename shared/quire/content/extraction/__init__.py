"""Extraction: the text of documents that are not text themselves (HTML, PDF, DOCX)."""
