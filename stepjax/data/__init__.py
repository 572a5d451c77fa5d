"""Corpora, and the examples made of them: batch n is a pure function of n."""
