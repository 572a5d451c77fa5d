"""Fault drills: random rounds of failures on real processes, each beside its fault-free twin."""
