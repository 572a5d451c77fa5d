"""The keys of events.jsonl and metrics.jsonl are a promise to other programs."""

import dataclasses
import json

import pytest

from stepjax.train.events import (
    Checkpoint,
    Compiled,
    Damaged,
    End,
    Evaluation,
    Event,
    Generation,
    Held,
    Injected,
    Recovery,
    Skipped,
    Slow,
    Start,
    StepLine,
    Stop,
    Undone,
    parse_event,
    parse_step,
    record,
)
from stepjax.train.jsonl import Log, read

RINGS = ((0, 1), (2, 4))
LINES = {  # as it stands in the file -> what it is
    '{"event": "start", "step": 0, "time": 9.5, "num_nodes": 6, "gpus_per_node": 2, "hops": 2, '
    '"fabric": "ring", "tensor": 4, "fsdp": 1, "plan": "lose 3 before 2", "resumed": false, '
    '"steps_lost": 0, "began": 7.5}': Start(
        0, 6, 2, 2, "ring", 4, 1, "lose 3 before 2", False, steps_lost=0, began=7.5, time=9.5
    ),
    '{"event": "generation", "step": 2, "time": 9.5, "generation": 1, "alive": [0, 1, 2, 4], '
    '"away": [3], "groups": [[0, 1], [2, 4]], "mesh": {"data": 2, "tensor": 4}, "devices": 8, '
    '"switched": 5, "switch_seconds": 8e-05}': Generation(
        2, 1, (0, 1, 2, 4), (3,), RINGS, {"data": 2, "tensor": 4}, 8, 5, 8e-5, time=9.5
    ),
    '{"event": "compiled", "step": 0, "time": 9.5, "program": "update", "seconds": 0.5}': Compiled(
        0, "update", 0.5, time=9.5
    ),
    '{"event": "injected", "step": 2, "time": 9.5, "what": "lose 3 before 2"}': Injected(
        2, "lose 3 before 2", time=9.5
    ),
    '{"event": "recovery", "step": 2, "time": 9.5, "generation": 1, "lost": [3], "back": [], '
    '"phases": {"notice": null, "state": 0.5}, "seconds": 0.5, "state_from": "replica", '
    '"steps_lost": 0, "cause": "node 3: gone", "compiled": 2}': Recovery(
        2,
        1,
        (3,),
        (),
        {"notice": None, "state": 0.5},
        0.5,
        "replica",
        0,
        "node 3: gone",
        2,
        time=9.5,
    ),
    '{"event": "slow", "step": 4, "time": 9.5, "node": 3, "times": 4.5}': Slow(4, 3, 4.5, time=9.5),
    '{"event": "skipped", "step": 4, "time": 9.5}': Skipped(4, time=9.5),
    '{"event": "undone", "step": 4, "time": 9.5, "seconds": 0.5}': Undone(4, 0.5, time=9.5),
    '{"event": "held", "step": 3, "time": 9.5, "seconds": 0.25}': Held(3, 0.25, time=9.5),
    '{"event": "checkpoint", "step": 3, "time": 9.5, "seconds": 0.25}': Checkpoint(
        3, 0.25, time=9.5
    ),
    '{"event": "damaged", "step": 3, "time": 9.5, "reason": "torn", "restored": 0}': Damaged(
        3, "torn", 0, time=9.5
    ),
    '{"event": "evaluation", "step": 3, "time": 9.5, "wer": 0.5, "cer": 0.25, "loss": null, '
    '"seconds": 1.5}': Evaluation(3, 0.5, 0.25, None, 1.5, time=9.5),
    '{"event": "stop", "step": 3, "time": 9.5, "reason": "no ring"}': Stop(3, "no ring", time=9.5),
    '{"event": "end", "step": 8, "time": 9.5}': End(8, time=9.5),
}
STEP = StepLine(4, 1.5, 1.25, None, 0.5, 600, 0.5, 1200.0, 12, 0, 1e-3, "ab", 0.125, 9.5)
LATER = {"cause", "compiled", "began"}  # than the first version


@pytest.mark.parametrize("line", LINES)
def test_an_event_is_this_line_and_reads_back(tmp_path, line):
    Log(tmp_path / "events.jsonl").write(record(LINES[line]))
    assert (tmp_path / "events.jsonl").read_text() == line + "\n"
    assert read(tmp_path / "events.jsonl", parse_event) == [LINES[line]]


def test_every_event_is_promised():
    assert {type(event) for event in LINES.values()} == set(Event.kinds.values())


def test_a_step_is_this_line_and_reads_back():
    assert list(record(STEP)) == [
        "step", "loss", "loss_text", "loss_audio", "grad_norm", "tokens", "seconds",
        "tokens_per_second", "devices", "generation", "learning_rate", "sample_ids_hash",
        "waited", "time",
    ]  # fmt: skip
    assert parse_step(json.loads(json.dumps(record(STEP)))) == STEP


def test_an_event_knows_when_it_was():
    first, second = End(8), End(8)
    assert 1e9 < first.time <= second.time  # seconds since the epoch


@pytest.mark.parametrize("kind", ["party", None, ["start"]])
def test_an_event_that_nobody_knows_is_refused(kind):
    with pytest.raises(ValueError, match="there is no event .*: events are start, generation"):
        parse_event({"event": kind, "step": 0})


@pytest.mark.parametrize("event", LINES.values())
def test_an_event_without_one_of_its_values_is_refused(event):
    whole = json.loads(json.dumps(record(event)))
    later = LATER | ({"seconds"} if isinstance(event, Evaluation) else set())
    for name in whole.keys() - {"time", "event"} - later:
        with pytest.raises(ValueError, match=f"'{name}' of this {type(event).__name__} is missing"):
            parse_event({key: value for key, value in whole.items() if key != name})


def test_what_a_later_version_adds_to_an_event_is_passed_over():
    event = Checkpoint(3, 0.25, time=9.5)
    assert parse_event(record(event) | {"bytes": 12}) == event


def test_a_recovery_of_an_earlier_version_has_no_cause():
    (event,) = (event for event in LINES.values() if isinstance(event, Recovery))
    line = json.loads(json.dumps(record(event)))
    earlier = {key: value for key, value in line.items() if key != "cause"}
    assert parse_event(earlier) == dataclasses.replace(event, cause="")


def test_events_are_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LINES[next(iter(LINES))].step = 3
