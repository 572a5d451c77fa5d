"""A run that dies at any byte leaves files that read as far as it came."""

import json
import math
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stepjax.train.board import Board
from stepjax.train.jsonl import Log, read, salvage, truncate
from stepjax.train.summary import summary

floats = st.floats(allow_nan=False, allow_infinity=False)


def metric(step: int, **other) -> dict:
    line = {
        "step": step,
        "loss": 5.0 - step / 4,
        "tokens_per_second": 100.0 * step,
        "sample_ids_hash": f"h{step}",
    }
    return line | other


@given(st.lists(floats, min_size=1), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_read_back_to_the_same_bits(tmp_path_factory, xs, x32):
    path = tmp_path_factory.mktemp("bits") / "metrics.jsonl"
    Log(path).write({"xs": xs, "x32": np.float32(x32), "on_device": jnp.float32(x32)})
    (record,) = read(path)
    assert [struct.pack("d", x) for x in record["xs"]] == [struct.pack("d", x) for x in xs]
    assert np.float32(record["x32"]).tobytes() == np.float32(x32).tobytes()
    assert record["on_device"] == float(jnp.float32(x32))  # XLA may flush what is denormal


def test_what_is_no_number_becomes_null(tmp_path):
    record = {
        "a": math.nan,
        "b": None,
        "c": [np.float32(np.inf), 1],
        "d": {"e": jnp.array(jnp.nan)},
    }
    Log(tmp_path / "log").write(record)
    assert (
        tmp_path / "log"
    ).read_text() == '{"a": null, "b": null, "c": [null, 1], "d": {"e": null}}\n'


def test_arrays_and_sets_become_lists(tmp_path):
    Log(tmp_path / "log").write(
        {"gone": frozenset({3, 1}), "nodes": np.array([[0, 1]]), "step": np.int64(7)}
    )
    assert read(tmp_path / "log") == [{"gone": [1, 3], "nodes": [[0, 1]], "step": 7}]


def test_every_torn_tail_is_left_out_and_the_next_run_goes_on_behind_it(tmp_path):
    path = tmp_path / "log"
    log = Log(path)
    for step in range(3):
        log.write(metric(step))
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        done = whole[:length].count(b"\n")
        assert read(path) == [metric(step) for step in range(done)]
        Log(path).write(metric(9))
        assert read(path) == [metric(step) for step in range(done)] + [metric(9)]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"step": 0}\n[1]\n\x00\x00\n{"step": 3}\n')
    assert salvage(path) == ([{"step": 0}, {"step": 3}], [2, 3])
    with pytest.raises(ValueError, match="line 2 of .*log is not a JSON object"):
        read(path)


def test_no_file_has_no_records(tmp_path):
    assert read(tmp_path / "none") == []
    assert truncate(tmp_path / "none", lambda record: True) == 0


def test_truncate_drops_what_is_refused_and_keeps_the_other_bytes_as_they_were(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"step":0}\n{"step":  1}\nrubbish\n{"step": 2}\n{"step": 3')
    assert truncate(path, lambda record: record["step"] < 2) == 2  # rubbish and step 2
    assert path.read_bytes() == b'{"step":0}\n{"step":  1}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_an_open_log_goes_on_after_truncate(tmp_path):
    log = Log(tmp_path / "deeper" / "log")
    for step in range(5):
        log.write({"step": step})
    assert truncate(log.path, lambda record: record["step"] < 2) == 3
    log.write({"step": 2})
    assert [record["step"] for record in read(log.path)] == [0, 1, 2]


def scalars(folder) -> dict:
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(x.step, x.value) for x in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_the_scalars(tmp_path):
    with Board(tmp_path) as board:
        board.write(0, {"loss/text": 2.5, "loss/audio": None})
        board.write(1, {"loss/text": 1.25, "loss/audio": np.float32(0.5)})
    assert scalars(tmp_path) == {"loss/text": [(0, 2.5), (1, 1.25)], "loss/audio": [(1, 0.5)]}


def test_a_resumed_run_hides_the_steps_that_it_does_again(tmp_path):
    for first_step in (0, 2):
        with Board(tmp_path, first_step) as board:
            for step in range(first_step, 4):
                board.write(step, {"loss": 10.0 * first_step + step})
    assert scalars(tmp_path) == {"loss": [(0, 0.0), (1, 1.0), (2, 22.0), (3, 23.0)]}


def recovery(gone=(), back=(), seconds=0.5, steps_lost=0) -> dict:
    return {
        "event": "recovery",
        "gone": gone,
        "back": back,
        "seconds": seconds,
        "steps_lost": steps_lost,
    }


def summed(tmp_path, metrics, events=(), steps=4) -> dict:
    for name, records in (("metrics", metrics), ("events", events)):
        log = Log(tmp_path / name)
        for record in records:
            log.write(record)
    return summary(
        tmp_path / "metrics",
        tmp_path / "events",
        lambda step: f"h{step}",
        batch_size=8,
        steps=steps,
    )


def test_a_summary_by_hand(tmp_path):
    events = [{"event": "start", "steps_lost": 3}, {"event": "generation"}, recovery(gone=[3]), {"event": "generation"},
              recovery(gone=[6, 5], steps_lost=2, seconds=1.5), recovery(back=[3], seconds=0.25)]  # fmt: skip
    result = summed(tmp_path, [metric(step) for step in range(4)], events)
    assert result == {
        "steps": 4, "first_loss": 5.0, "final_loss": 4.25, "tokens_per_second": 150.0,
        "faults": 3, "rejoins": 1, "generations": 2, "steps_lost": 5, "samples_lost": 0, "samples_repeated": 0,
        "recovery_seconds": [0.5, 1.5, 0.25],
    }  # fmt: skip
    assert json.loads(json.dumps(result)) == result


def test_samples_are_lost_where_a_step_is_missing_or_saw_others(tmp_path):
    metrics = [metric(0), metric(1, sample_ids_hash="other"), metric(3)]
    result = summed(tmp_path, metrics, steps=5)
    assert (result["steps"], result["samples_lost"], result["samples_repeated"]) == (3, 3 * 8, 0)


def test_samples_are_repeated_where_a_step_is_logged_twice(tmp_path):
    result = summed(tmp_path, [metric(step) for step in (0, 1, 1, 2, 1, 3)])
    assert (result["steps"], result["samples_lost"], result["samples_repeated"]) == (4, 0, 2 * 8)


def test_a_run_that_did_nothing_has_a_summary(tmp_path):
    result = summary(tmp_path / "metrics", tmp_path / "events", str, batch_size=8, steps=0)
    assert (result["steps"], result["first_loss"], result["tokens_per_second"]) == (0, None, None)
    assert result["recovery_seconds"] == []
