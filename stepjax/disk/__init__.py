"""Files and checkpoints that are whole or named as damaged."""
