"""Transcripts of recordings, and their error rates."""
