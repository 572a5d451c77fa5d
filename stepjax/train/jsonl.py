"""JSON lines that survive a crash, and that are read into dataclasses.

A line counts once its newline is there. So a run may end at any byte, and its files read as far as
they were written.
"""

import dataclasses
import functools
import json
import math
import os
import reprlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from stepjax.disk.files import replace, sync, writing

Record = dict[str, Any]
Line = TypeVar("Line")


class Log:
    """Appends records to a file of JSON lines.

    Numbers read back to the same bits; what is not finite becomes null. The file is opened anew for
    each line, so that `truncate` may replace it between two of them. All may raise Unwritable.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        # A torn line must not grow together with the next one.
        truncate(self.path, keep=lambda record: True)

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(_plain(record), allow_nan=False) + "\n"
        with writing(self.path), open(self.path, "ab") as file:
            file.write(line.encode())

    def sync(self) -> None:
        """Brings all records to the disk."""
        if self.path.exists():
            with writing(self.path):
                sync(self.path)


def _plain(value: Any) -> Any:
    """`value` in the types of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inside) for key, inside in value.items()}
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    if hasattr(value, "__iter__") and not isinstance(value, str):
        return [_plain(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def salvage(
    path: str | os.PathLike, parse: Callable[[Record], Line] = dict
) -> tuple[list[Line], list[str]]:
    """What `parse` makes of the lines of a file, and what is wrong with the others.

    A torn last line is neither. `parse` raises ValueError for a record that it cannot use.
    """
    found, damaged = [], []
    for number, (_, record) in enumerate(_lines(Path(path)), 1):
        try:
            if record is None:
                raise ValueError("this is not a JSON object.")
            found.append(parse(record))
        except ValueError as error:
            damaged.append(f"line {number} of {path}: {error}")
    return found, damaged


def read(path: str | os.PathLike, parse: Callable[[Record], Line] = dict) -> list[Line]:
    """What `parse` makes of every line of a file, without a last one that was torn; nothing where
    there is no file.

    Raises: ValueError that names the first damaged line.
    """
    found, damaged = salvage(path, parse)
    if damaged:
        raise ValueError(f"{damaged[0]} Remove the line, and what it said is lost.")
    return found


def truncate(path: str | os.PathLike, keep: Callable[[Record], bool]) -> int:
    """Drops the records that `keep` refuses, and damaged lines, all at once or not at all.

    Returns: how many whole lines were dropped. A torn last line goes too, and is not counted.
    """
    path = Path(path)
    lines = list(_lines(path))
    kept = b"".join(line for line, record in lines if record is not None and keep(record))
    if path.exists() and len(kept) < path.stat().st_size:
        replace(path, kept)
    return len(lines) - kept.count(b"\n")


def parse(kind: type[Line], record: Record) -> Line:
    """The dataclass `kind` with the values of `record`; keys that it does not have are passed over.

    Raises: ValueError that names a value of another type than the field's, or a missing one.
    """
    values, wrong = fitting(kind, record)
    if wrong:
        raise ValueError(f"{next(iter(wrong.values()))}.")
    for field in dataclasses.fields(kind):
        optional = field.default_factory is not MISSING or field.default is not MISSING
        if field.name not in values and not optional:
            raise ValueError(f"{field.name!r} of this {kind.__name__} is missing.")
    return kind(**values)


def fitting(kind: type, record: Record) -> tuple[Record, dict[str, str]]:
    """The values of `record` that fit fields of the dataclass `kind`; and by name, what is wrong
    with those that do not.
    """
    values, wrong = {}, {}
    for name, hint in _hints(kind).items():
        if name in record:
            try:
                values[name] = _as(hint, record[name])
            except TypeError as error:
                wrong[name] = f"{name!r} of this {kind.__name__} {error}"
    return values, wrong


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The type of each field of a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _as(hint: Any, value: Any) -> Any:
    """`value`, as JSON gave it, in the type `hint`. Raises TypeError where it is none of that type.

    >>> _as(tuple[int, ...], [3, 1]), _as(float | None, 2), _as(dict[str, int], {"data": 3})
    ((3, 1), 2, {'data': 3})
    """
    inside = get_args(hint)
    if isinstance(hint, types.UnionType):  # X | None
        return None if value is None else _as(inside[0], value)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_as(inside[0], each) for each in value)
    if get_origin(hint) is dict and isinstance(value, dict):
        return {key: _as(inside[1], each) for key, each in value.items()}
    if hint is float and type(value) in (int, float):
        if abs(value) <= sys.float_info.max:  # NaN is not
            return value
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    wanted = hint.__name__ if isinstance(hint, type) else str(hint)
    raise TypeError(f"is {reprlib.repr(value)}, and must be {wanted}")


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
