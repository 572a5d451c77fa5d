"""A trace is read whole, or refused in a sentence that names its line."""

import json
import random

import numpy as np
import pytest
from traces import SHORT

from parallel.fabric.trace import parse_trace, timeline

LINES = b"""[
 {"node_id": "a", "event_time": 1.0, "event_type": "fault_start",
  "fault_type": {"Level": "x", "Class": "y", "Desc": "z"}},
 {"node_id": "a", "event_time": 2.0, "event_type": "fault_end",
  "fault_type": {"Level": "x", "Class": "y", "Desc": "z"}}
]
"""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"[", b"(", r"line 1: found '\(' where '\[' belongs"),
        (b"}},\n", b"}}\n", "line 4: found '{' where ',' or ']' belongs"),
        (b"}}\n]", b"}}\n", "line 7: found the end of the file where ',' or ']' belongs"),
        (b"]\n", b"]]\n", "line 6: the list has ended, but the file goes on with ']'"),
        (b"2.0,", b"2.0", "line 4: this is not JSON: Expecting ',' delimiter"),
        (b"2.0", b"NaN", "line 4: this event has NaN where a number belongs"),
        (
            b"2.0",
            b"1e999",
            "line 4: found inf, but event_time must be a number of days, at least 0",
        ),
        (b"2.0", b"-2.0", "line 4: found -2.0, but event_time"),
        (b"2.0", b"true", "line 4: found True, but event_time"),
        (b"2.0", b'"2.0"', "line 4: found '2.0', but event_time"),
        (b"2.0", b"1" * 5000, "line 4: found inf, but event_time"),
        (b"2.0", b"[" * 100_000, "line 4: this event is nested too deeply"),
        (
            b"fault_end",
            b"fault_over",
            "line 4: found 'fault_over', but event_type must be fault_start or fault_end",
        ),
        (
            b"fault_end",
            b"fault_start",
            "line 4: node 'a' cannot start this fault again: it started on line 2",
        ),
        (b"fault_start", b"fault_end", "line 2: node 'a' ends a fault that it did not start"),
        (
            b'"Desc": "z"}}\n',
            b'"Desc": "w"}}\n',
            "line 4: node 'a' ends a fault that it did not start",
        ),
        (
            b'"Desc": "z"}}\n',
            b'"Desc": 7}}\n',
            "line 4: found {.*}, but fault_type must hold a text for each of Level",
        ),
        (b'"event_time": 2.0', b'"event_tim": 2.0', "line 4: this event has no 'event_time'"),
        (
            b'"event_time": 2.0',
            b'"node_id": "b", "event_time": 2.0',
            "line 4: this event has 'node_id' twice",
        ),
        (
            b' {"node_id": "a", "event_time": 2',
            b' 5, {"node_id": "a", "event_time": 2',
            "line 4: found 5.0, but an ",
        ),
        (
            b'"a", "event_time": 2',
            b'"", "event_time": 2',
            "line 4: found '', but node_id must be a name",
        ),
        (b'"a", "event_time": 2', b'"\xff", "event_time": 2', "line 4: byte .* is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(before, after, message):
    assert before in LINES
    start, _, rest = (
        LINES.rpartition(before)
        if LINES.count(before) > 1 and before != b"["
        else LINES.partition(before)
    )
    with pytest.raises(ValueError, match=message) as refused:
        parse_trace(start + after + rest)
    one_clear_sentence(str(refused.value))


def one_clear_sentence(message: str) -> None:
    assert message.startswith("line ")
    assert "\n" not in message and message.endswith(".") and len(message) < 400


def mutated(events: list, luck: random.Random) -> bytes:
    """The trace with one to three things wrong, in its events or in its text."""
    events = json.loads(json.dumps(events))
    odd = [
        None,
        True,
        -1,
        0,
        1e308,
        "",
        "a",
        "1.0",
        [],
        {},
        [[]],
        {"a": 1},
        "fault_end",
        "x" * 2000,
        10**400,
        3.5,
    ]
    for _ in range(luck.randint(0, 2)):
        place = luck.randrange(len(events))
        key = luck.choice(["node_id", "event_time", "event_type", "fault_type"])
        kind = luck.randrange(7)
        if not isinstance(events[place], dict):
            continue
        if kind == 0:
            events[place][key] = luck.choice(odd)
        elif kind == 1:
            events[place].pop(key, None)
        elif kind == 2:
            del events[place]
        elif kind == 3:
            events.insert(luck.randrange(len(events)), events[place])
        elif kind == 4:
            events.insert(place, luck.choice(odd))
        elif kind == 5:
            events[place]["event_time"] = luck.choice([0, 2.5, 9, 11.0])
        else:
            other = luck.randrange(len(events))
            events[place], events[other] = events[other], events[place]
    text = bytearray(json.dumps(events, indent=luck.choice([None, 1])), "utf-8")
    for _ in range(luck.randint(0, 2)):
        place, kind = luck.randrange(len(text)), luck.randrange(4)
        if kind == 0:
            text[place] = luck.randrange(256)
        elif kind == 1:
            del text[place : place + luck.choice([1, 5, 60])]
        elif kind == 2:
            text[place:place] = luck.choice(
                [b",", b"]", b"{", b'"', b"\n", b"\x00", b"NaN", b"9", b"\xef\xbb\xbf"]
            )
        else:
            del text[place:]
        text = text or bytearray(b" ")
    return bytes(text)


def away_ref(events: list, node: str, day: float) -> bool:
    """Whether any fault of the node lasts on that day, by counting starts and ends before it."""
    kinds = [e["event_type"] for e in events if e["node_id"] == node and e["event_time"] <= day]
    return kinds.count("fault_start") > kinds.count("fault_end")


def test_a_thousand_mutated_traces_are_read_whole_or_refused_in_a_sentence():
    luck, read, refused = random.Random(0), 0, 0
    for _ in range(1200):
        text = mutated(SHORT, luck)
        try:
            trace = parse_trace(text, num_nodes=20, days=10)
        except ValueError as error:
            one_clear_sentence(str(error))
            refused += 1
            continue
        read += 1
        events = json.loads(text.decode("utf-8-sig"))
        line = timeline(trace)
        for day in np.arange(0.13, 10, 0.37):
            away = (~line.alive[np.searchsorted(line.day, day) - 1]).sum()
            assert away == sum(
                away_ref(events, node, day) for node in {e["node_id"] for e in events}
            )
        assert {e["event_type"] for e in events} <= {"fault_start", "fault_end"}
        assert len(trace.node) <= sum(e["event_type"] == "fault_start" for e in events)
    assert read > 150 and refused > 700
