"""Speech to discrete codes."""
