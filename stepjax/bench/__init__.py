"""Benchmarks: what the claims of the README stand on."""
