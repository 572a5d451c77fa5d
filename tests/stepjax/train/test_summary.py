"""The numbers of result.json, by hand."""

import dataclasses
import json

from stepjax.train.events import Generation, Recovery, Start, StepLine, record
from stepjax.train.jsonl import Log
from stepjax.train.summary import Numbers, summary


def metric(step: int, sample_ids_hash: str | None = None) -> StepLine:
    return StepLine(
        step,
        loss=5.0 - step / 4,
        loss_text=5.0,
        loss_audio=None,
        grad_norm=1.0,
        tokens=100 * step,
        seconds=1.0,
        tokens_per_second=100.0 * step,
        devices=4,
        generation=0,
        learning_rate=1e-3,
        sample_ids_hash=sample_ids_hash or f"h{step}",
    )


def start(steps_lost: int) -> Start:
    return Start(0, 8, 2, 2, "ring", 4, 1, plan="", resumed=True, steps_lost=steps_lost)


def generation() -> Generation:
    return Generation(0, 0, (0, 1), (), ((0, 1),), {"data": 1}, 4, switched=0, switch_seconds=0.0)


def recovery(lost=(), back=(), seconds=0.5, steps_lost=0) -> Recovery:
    return Recovery(0, 0, lost, back, {}, seconds, "replica", steps_lost)


def summed(tmp_path, metrics, events=(), steps=4) -> Numbers:
    for name, records in (("metrics", metrics), ("events", events)):
        log = Log(tmp_path / name)
        for each in records:
            log.write(record(each))
    return summary(
        tmp_path / "metrics",
        tmp_path / "events",
        lambda step: f"h{step}",
        batch_size=8,
        steps=steps,
    )


def test_a_summary_by_hand(tmp_path):
    events = [
        start(steps_lost=3),
        generation(),
        recovery(lost=(3,)),
        generation(),
        recovery(lost=(6, 5), steps_lost=2, seconds=1.5),
        recovery(back=(3,), seconds=0.25),
    ]
    result = summed(tmp_path, [metric(step) for step in range(4)], events)
    assert json.loads(json.dumps(dataclasses.asdict(result))) == {
        "steps": 4,
        "first_loss": 5.0,
        "final_loss": 4.25,
        "tokens_per_second": 150.0,
        "faults": 3,
        "rejoins": 1,
        "generations": 2,
        "steps_lost": 5,
        "skipped_steps": 0,
        "recovery_seconds": [0.5, 1.5, 0.25],
        "samples_lost": 0,
        "samples_repeated": 0,
        "goodput": None,
    }


def test_steps_without_a_gradient_are_counted_each_once(tmp_path):
    bad = dataclasses.replace(metric(1), grad_norm=None)
    assert summed(tmp_path, [metric(0), bad, bad, metric(2)]).skipped_steps == 1


def test_samples_are_lost_where_a_step_is_missing_or_saw_others(tmp_path):
    metrics = [metric(0), metric(1, "other"), metric(3)]
    result = summed(tmp_path, metrics, steps=5)
    assert (result.steps, result.samples_lost, result.samples_repeated) == (3, 3 * 8, 0)


def test_samples_are_repeated_where_a_step_is_logged_twice(tmp_path):
    result = summed(tmp_path, [metric(step) for step in (0, 1, 1, 2, 1, 3)])
    assert (result.steps, result.samples_lost, result.samples_repeated) == (4, 0, 2 * 8)


def test_a_run_that_did_nothing_has_a_summary(tmp_path):
    result = summary(tmp_path / "metrics", tmp_path / "events", str, batch_size=8, steps=0)
    assert (result.steps, result.first_loss, result.tokens_per_second) == (0, None, None)
    assert result.recovery_seconds == ()
