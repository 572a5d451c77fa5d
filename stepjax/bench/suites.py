"""The measurements by name; each takes its own part of configs/bench.py."""

from pathlib import Path

from ml_collections import ConfigDict

from stepjax.bench import mesh, recovery, result, step

SUITES = {"mesh": mesh.run, "recovery": recovery.run, "step": step.run}


def measure(suite: str, config: ConfigDict, workdir: Path) -> None:
    """Runs a suite, prints its table and writes result.json.

    Raises: ValueError, if there is no such suite.
    """
    if suite not in SUITES:
        raise ValueError(f"suite={suite!r} is not known; use one of {', '.join(SUITES)}.")
    found = SUITES[suite](config[suite])
    result.show(found, suite)
    result.write(found, suite, workdir)
