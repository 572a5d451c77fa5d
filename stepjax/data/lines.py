"""Text files, line by line, with an error that names the line."""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GZIP = b"\x1f\x8b"
MOST_DIGITS = 1000  # of an integer; Python refuses more than 4300 in words of its own


class Line(NamedTuple):
    """A line that is not blank."""

    path: Path
    number: int  # from 1
    text: str

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.number}"


def lines_of(path: Path) -> list[Line]:
    """The lines of a UTF-8 file, compressed by gzip or not.

    They end at a line feed only, whatever else Unicode calls a line's end; a carriage return before
    it and a byte order mark are dropped.
    Raises: ValueError.
    """
    lines = text_of(path).split("\n")
    numbered = enumerate((line.removesuffix("\r") for line in lines), start=1)
    return [Line(path, number, line) for number, line in numbered if line.strip()]


def text_of(path: Path) -> str:
    """The content of a UTF-8 file, without a byte order mark."""
    content = b""
    try:
        content = path.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: its compression is damaged, {error}.") from error
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {number}: the byte 0x{content[error.start]:02x} is not UTF-8; wanted is "
            "a text file."
        ) from error


@contextlib.contextmanager
def named(line: Line) -> Iterator[None]:
    """Within it, a ValueError is told with the file and the line."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{line.where}: {error}.") from error


def fields_of(line: Line) -> dict:
    """The JSON object that a line holds."""
    try:
        fields = json.loads(line.text, object_pairs_hook=_once, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not a JSON object: {error.msg} at character {error.pos + 1}"
        ) from error
    except RecursionError as error:
        raise ValueError("its brackets are nested too deep") from error
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits")
    return int(digits)


def _once(pairs: list[tuple]) -> dict:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the field {twice!r} twice")
    return fields
