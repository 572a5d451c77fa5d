"""Which layout, before anything runs: fault traces, cost, job scale, goodput."""
