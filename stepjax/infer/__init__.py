"""Answers of a trained model: opening a run, greedy answers, transcripts."""
