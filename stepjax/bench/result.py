"""What a measurement gives, for programs and for people."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from parallel.show.table import print_table
from stepjax.disk import files

Row = dict[str, Any]


class Result(NamedTuple):
    """Rows of a table, and the numbers drawn from them. Times are in seconds."""

    rows: list[Row]
    summary: Row


def write(result: Result, suite: str, workdir: Path) -> None:
    """Writes result.json: `suite`, `rows` and `summary`."""
    content = {"suite": suite, "rows": result.rows, "summary": result.summary}
    files.replace(workdir / "result.json", json.dumps(content, indent=1) + "\n")


def show(result: Result, suite: str) -> None:
    """Prints the table and, below it, the summary."""
    flat = [{**row, **row.get("phases", {})} for row in result.rows]
    columns = [name for name in max(flat, key=len) if name != "phases"]
    cells = [[_cell(row.get(name, "")) for name in columns] for row in flat]
    numbers = [all(not isinstance(row.get(name), str) for row in flat) for name in columns]
    print_table(suite, columns, numbers, cells)
    Console().print({name: x for name, x in result.summary.items() if name != "phases"})


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
