"""What an experiment leaves behind: a table for people, result.json for programs, a figure."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from parallel.planner.experiments import Experiment, Result
from parallel.planner.figures import PLOTS
from parallel.show.table import print_table


def write(name: str, experiment: Experiment, result: Result, workdir: Path) -> list[str]:
    """Writes the files of a result, result.json last and whole. Returns their names."""
    workdir.mkdir(parents=True, exist_ok=True)
    written = ["result.json", *result.pages]
    for file, text in result.pages.items():
        (workdir / file).write_text(text, "utf-8")
    if name in PLOTS:
        PLOTS[name](result.rows, workdir / f"{name}.png")
        written.append(f"{name}.png")
    rows = [row._asdict() for row in result.rows]
    numbers = {"experiment": name, "arguments": asdict(experiment), "rows": rows}
    beside = workdir / f".result.json-{os.getpid()}"
    try:
        beside.write_text(json.dumps(numbers, indent=1), "utf-8")
        beside.replace(workdir / "result.json")
    finally:
        beside.unlink(missing_ok=True)
    return written


def show(name: str, rows: Sequence[NamedTuple]) -> None:
    """Prints everything that is a single value."""
    first = rows[0]._asdict()
    shown = [key for key, value in first.items() if not isinstance(value, tuple)]
    print_table(
        name.replace("_", " "),
        head=[key.replace("_", " ") for key in shown],
        right=[isinstance(first[key], (int, float)) for key in shown],
        rows=[[words(key, getattr(row, key)) for key in shown] for row in rows],
    )


def words(key: str, value: object) -> str:
    """A value as people write it: shares of one as per cent, times with a unit.

    >>> words("mean", 0.00532), words("seconds_full", 0.00042), words("tensor", 32)
    ('0.532 %', '0.420 ms', '32')
    >>> words("dollars_per_gpu", 2626.8)
    '2,626.80'
    """
    if not isinstance(value, float):
        return str(value)
    if key.startswith("seconds"):
        return f"{value * 1e3:,.3f} ms"
    if key in ("groups", "rings_changed") or "_per_" in key:
        return f"{value:,.2f}"
    return f"{value:.3%}".replace("%", " %")
