"""The ring runtime; it knows nothing of speech or models."""
