"""Where the time of a run went, by hand; and the parts are the whole."""

import dataclasses
import json

import pytest
import tiny_run

from stepjax.train.events import (
    Checkpoint,
    Compiled,
    End,
    Evaluation,
    Generation,
    Held,
    Recovery,
    Start,
    StepLine,
    Stop,
    Undone,
    parse_event,
    parse_step,
)
from stepjax.train.goodput import PARTS, goodput
from stepjax.train.jsonl import read
from stepjax.train.loop import Stopped


def start(time: float, began: float | None, step: int = 0) -> Start:
    return Start(step, 8, 2, 2, "ring", 4, 1, "", False, 0, began, time=time)


def mesh(time: float, number: int = 0) -> Generation:
    return Generation(0, number, (0, 1), (), ((0, 1),), {}, 4, 0, 0.0, time=time)


def recovery(time: float, step: int) -> Recovery:
    return Recovery(step, 1, (3,), (), {}, 9.0, "replica", 0, time=time)


def line(step: int, time: float, seconds: float, waited: float = 0.0) -> StepLine:
    return StepLine(
        step, 1.0, None, None, 1.0, 10, seconds, 1.0, 4, 0, 1e-3, "ab", waited=waited, time=time
    )


LINES = [line(0, 112.0, 1.0), line(1, 114.0, 1.5, waited=0.25), line(2, 120.0, 1.0)]
EVENTS = [
    start(104.0, began=100.0),
    Compiled(0, "gradients", 3.0, time=106.0),
    Compiled(0, "update", 1.0, time=106.0),
    mesh(106.0),
    mesh(117.0, number=1),
    Compiled(2, "gradients", 0.5, time=117.0),  # for the smaller mesh
    recovery(119.5, step=2),
    Held(3, 0.25, time=120.5),
    Checkpoint(3, 7.0, time=121.0),
    Compiled(3, "heldout losses", 2.0, time=125.0),
    Evaluation(3, 0.5, 0.5, 1.0, 1.5, time=125.0),
    Held(3, 0.5, time=125.5),
    End(3, time=126.0),
]
BY_HAND = {
    "stepping": 1.0 + 1.25 + 1.0,
    "repeating": 0.0,
    "compiling": 3.0 + 1.0 + 2.0,
    "saving": 0.25 + 0.5,
    "recovering": 6.0 - 1.0,  # from the end of step 1, but for step 2 itself
    "evaluating": 1.5,
    "waiting": 2.0 + 5.0 + 0.75 + 1.75,  # of the start, of each step, and of the end
}


def parts(spent: dict[str, float]) -> dict[str, float]:
    return {part: spent[part] for part in PARTS}


def test_an_account_by_hand():
    spent = goodput(LINES, EVENTS)
    assert parts(spent) == pytest.approx(BY_HAND)
    assert sum(parts(spent).values()) == pytest.approx(126.0 - 100.0)
    assert spent["share"] == pytest.approx(3.25 / 26.0)


def test_what_happened_between_two_processes_is_no_part_of_it():
    """The second goes on at step 2, which the first had done, and which is lost."""
    again = [
        Undone(2, 1.0, time=120.0),
        start(1004.0, began=1000.0, step=2),
        mesh(1005.0),
        End(3, time=1010.0),
    ]
    spent = goodput([*LINES[:2], line(2, 1009.0, 3.0)], [*EVENTS[:-1], *again])
    assert sum(parts(spent).values()) == pytest.approx(25.5 + 10.0)
    assert (spent["repeating"], spent["stepping"]) == (1.0, 1.0 + 1.25 + 3.0)
    assert spent["recovering"] == BY_HAND["recovering"]
    assert spent["waiting"] == pytest.approx(BY_HAND["waiting"] - 0.5 + 5.0 + 1.0 + 1.0)


def test_a_step_that_is_told_as_undone_and_still_there_counts_once():
    undone = [Undone(2, 1.0, time=120.0)] * 2
    assert parts(goodput(LINES, [*EVENTS, *undone])) == pytest.approx(
        BY_HAND | {"repeating": 1.0, "stepping": 2.25}
    )


def test_of_a_run_that_an_earlier_version_began_it_is_not_known():
    assert goodput([], []) is None
    assert goodput([dataclasses.replace(LINES[0], time=None)], EVENTS) is None
    assert goodput(LINES, [start(104.0, began=None), *EVENTS[1:]]) is None


def of_files(workdir) -> dict[str, float]:
    return goodput(
        read(workdir / "metrics.jsonl", parse_step), read(workdir / "events.jsonl", parse_event)
    )


def test_the_parts_of_a_run_that_goes_back_and_is_resumed_add_up(tmp_path):
    """It comes back from step 5 to the checkpoint of step 3, loses all rings, and is resumed."""
    faults = "lose 0 before 1; lose 1 before 1; lose 2 before 1; lose 4 during 3; "
    faults += "back 0 before 5; back 1 before 5; lose 3 before 5; lose 5 before 5; "
    faults += "lose 0 before 7; lose 1 before 7"
    with pytest.raises(Stopped):
        tiny_run.train(tiny_run.config(faults), tmp_path, scored=False)
    result = tiny_run.train(tiny_run.config(faults), tmp_path, scored=False)
    spent = json.loads((tmp_path / "result.json").read_text())["goodput"]
    assert spent == result["goodput"] == of_files(tmp_path)
    found = read(tmp_path / "events.jsonl", parse_event)
    began = [event.began for event in found if isinstance(event, Start)]
    ended = [event.time for event in found if isinstance(event, (Stop, End))]
    wall = sum(end - begin for begin, end in zip(began, ended, strict=True))
    assert sum(parts(spent).values()) == pytest.approx(wall)
    assert spent["share"] == spent["stepping"] / sum(parts(spent).values())
    assert min(parts(spent).values()) > -1e-3
    undone = [event.step for event in found if isinstance(event, Undone)]
    assert undone == [3, 4, 6]  # the last one by the process that resumed it
    assert min(spent[part] for part in ("stepping", "repeating", "saving", "recovering")) > 0
