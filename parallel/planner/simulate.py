"""An experiment from its name to its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parallel.planner import results
from parallel.planner.experiments import Result, experiment


def simulate(name: str, config: Mapping[str, Any], workdir: Path) -> Result:
    """Runs an experiment, writes result.json and its figure into `workdir`, and prints its table.

    Args:   config: has a part for each experiment, as configs/simulate.py.
    Raises: ValueError, in one sentence, for settings that cannot be.
    """
    chosen = experiment(name, config)
    result = chosen.run()
    written = results.write(name, chosen, result, workdir)
    results.show(name, result.rows)
    for note in result.notes:
        print(note)
    print(f"Written to {workdir}: {', '.join(written)}")
    return result
