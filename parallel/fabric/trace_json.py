"""The JSON of a fault trace, read so that every complaint names its line."""

import json
import math
import re
import reprlib
from collections.abc import Iterator
from typing import NamedTuple

KEYS = ("node_id", "event_time", "event_type", "fault_type")
KINDS = ("fault_start", "fault_end")
FAULT_KEYS = ("Level", "Class", "Desc")
SPACE = re.compile(r"[ \t\r\n]*")


class TraceLine(NamedTuple):
    """A fault of a node starts or ends."""

    line: int  # of the file
    node: str
    day: float
    starts: bool
    fault: tuple[str, str, str]


def read_lines(data: bytes) -> list[TraceLine]:
    """All lines of a trace in the order of the file; keys that a trace does not need are passed
    over.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: byte {error.start} is not UTF-8 text.") from error
    return [_trace_line(line, element) for line, element in elements(text)]


def elements(text: str) -> Iterator[tuple[int, object]]:
    """The elements of a JSON list, each with the line on which it begins.

    >>> list(elements('[{"a": 1},\\n 2]'))
    [(1, {'a': 1.0}), (2, 2.0)]
    """
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_int=float, parse_constant=_no_number)
    found, at = _expect(text, 0, "[")
    if text.startswith("]", at):
        found, at = _expect(text, at, "]")
    line, counted = 1, 0
    while found != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            element, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {error.lineno}: this is not JSON: {error.msg}.") from error
        except RecursionError as error:
            raise ValueError(f"line {line}: this event is nested too deeply.") from error
        except ValueError as error:
            raise ValueError(f"line {line}: this event {error}.") from error
        yield line, element
        found, at = _expect(text, at, ",]")
    if at < len(text):
        raise ValueError(
            f"{_line(text, at)}: the list has ended, but the file goes on with {text[at]!r}."
        )


def _expect(text: str, at: int, wanted: str) -> tuple[str, int]:
    """The next character, which must be one of those wanted, and where the text goes on behind
    it.
    """
    at = _past_space(text, at)
    found = text[at : at + 1]
    if not found or found not in wanted:
        what = repr(found) if found else "the end of the file"
        raise ValueError(
            f"{_line(text, at)}: found {what} where {' or '.join(map(repr, wanted))} belongs."
        )
    return found, _past_space(text, at + 1)


def _past_space(text: str, at: int) -> int:
    space = SPACE.match(text, at)
    assert space is not None, "no space is a match, too"
    return space.end()


def _line(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}"


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    event = dict(pairs)
    if len(event) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has {reprlib.repr(max(keys, key=keys.count))} twice")
    return event


def _no_number(name: str) -> None:
    raise ValueError(f"has {name} where a number belongs")


def _trace_line(line: int, event: object) -> TraceLine:
    def refuse(found: object, wanted: str) -> ValueError:
        return ValueError(f"line {line}: found {reprlib.repr(found)}, but {wanted}.")

    if not isinstance(event, dict):
        raise refuse(event, "an event is an object in braces")
    for key in KEYS:
        if key not in event:
            raise ValueError(f"line {line}: this event has no {key!r}.")
    node, day, kind, fault = (event[key] for key in KEYS)
    if not isinstance(node, str) or not node:
        raise refuse(node, "node_id must be a name")
    if not isinstance(day, float) or not (math.isfinite(day) and day >= 0):
        raise refuse(day, "event_time must be a number of days, at least 0")
    if kind not in KINDS:
        raise refuse(kind, f"event_type must be {' or '.join(KINDS)}")
    if not isinstance(fault, dict) or not all(
        isinstance(fault.get(key), str) for key in FAULT_KEYS
    ):
        raise refuse(fault, f"fault_type must hold a text for each of {', '.join(FAULT_KEYS)}")
    level, kind_of_fault, words = (fault[key] for key in FAULT_KEYS)
    return TraceLine(line, node, day, kind == KINDS[0], (level, kind_of_fault, words))
