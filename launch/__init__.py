"""Entry points: parse flags, run, print."""
