"""Answers from trained models: `load(workdir)` opens a run."""

from stepjax.infer.load import load

__all__ = ["load"]
