"""JSON lines that survive a crash.

A line counts once its newline is there. So a run may die at any byte, and what it left reads as far
as it came.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Log:
    """Appends records to a file of JSON lines.

    Numbers read back to the same bits; what is not finite becomes null. The file is opened anew for
    each line, so that `truncate` may replace it between two of them.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        truncate(
            self.path, keep=lambda record: True
        )  # a torn line must not grow together with the next one

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(_plain(record), allow_nan=False) + "\n"
        with open(self.path, "ab") as file:
            file.write(line.encode())


def _plain(value: Any) -> Any:
    """`value` in types that JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inside) for key, inside in value.items()}
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    if hasattr(value, "__iter__") and not isinstance(value, str):
        return [_plain(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def salvage(path: str | os.PathLike) -> tuple[list[Record], list[int]]:
    """The records of a file, and the numbers (from 1) of the lines before its end that are
    damaged.
    """
    lines = list(_lines(Path(path)))
    records = [record for _, record in lines if record is not None]
    return records, [number for number, (_, record) in enumerate(lines, 1) if record is None]


def read(path: str | os.PathLike) -> list[Record]:
    """The records of a file of JSON lines, without a last one that was torn; none where there is no
    file.
    """
    records, damaged = salvage(path)
    if damaged:
        raise ValueError(
            f"line {damaged[0]} of {path} is not a JSON object: remove it, and what it said is "
            "lost."
        )
    return records


def truncate(path: str | os.PathLike, keep: Callable[[Record], bool]) -> int:
    """Drops the records that `keep` refuses, and damaged lines, all at once or not at all.

    Returns: how many whole lines were dropped. A torn last line goes too, and is not counted.
    """
    path = Path(path)
    lines = list(_lines(path))
    kept = b"".join(line for line, record in lines if record is not None and keep(record))
    if path.exists() and len(kept) < path.stat().st_size:
        _replace(path, kept)
    return len(lines) - kept.count(b"\n")


def _lines(path: Path) -> Iterator[tuple[bytes, Record | None]]:
    """Every line that was ended, as it stands and as it reads; None where it is damaged."""
    *whole, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for line in whole:
        yield line + b"\n", _record(line)


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line, parse_constant=lambda name: None)  # NaN, should anyone write one
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
