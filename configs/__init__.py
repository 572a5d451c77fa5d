"""One file per experiment: its head has the command and what to expect."""
