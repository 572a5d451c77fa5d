"""The measurements by name; each takes its own part of configs/bench.py."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from stepjax.bench import mesh, recovery, result, step


class Suite(NamedTuple):
    run: Callable[[ConfigDict], result.Result]
    devices: int  # that it computes on


SUITES = {
    "mesh": Suite(mesh.run, devices=16),
    "recovery": Suite(recovery.run, devices=1),
    "step": Suite(step.run, devices=1),
}


def named(suite: str) -> Suite:
    """Raises: ValueError, if there is no such suite."""
    if suite not in SUITES:
        raise ValueError(f"suite={suite!r} is not known; use one of {', '.join(SUITES)}.")
    return SUITES[suite]


def measure(suite: str, config: ConfigDict, workdir: Path) -> None:
    """Runs a suite with its part of `config`, prints its table and writes result.json.

    Raises: ValueError, in one sentence, for a config of something else.
    """
    if suite not in config:
        raise ValueError(f"the config has no part {suite}: start from configs/bench.py.")
    found = named(suite).run(config[suite])
    result.show(found, suite)
    result.write(found, suite, workdir)
