"""A run that dies at any byte leaves files that read as far as it came."""

import dataclasses
import math
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_disk import KB, fill, small_disk

from stepjax.disk.files import Unwritable
from stepjax.train.jsonl import Log, fitting, parse, read, salvage, truncate

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
        {"lost": frozenset({3, 1}), "nodes": np.array([[0, 1]]), "step": np.int64(7)}
    )
    assert read(tmp_path / "log") == [{"lost": [1, 3], "nodes": [[0, 1]], "step": 7}]


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
    found, damaged = salvage(path)
    assert found == [{"step": 0}, {"step": 3}]
    assert damaged == [f"line {n} of {path}: this is not a JSON object." for n in (2, 3)]
    with pytest.raises(ValueError, match="line 2 of .*log: this is not a JSON object. Remove the"):
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


def test_a_full_disk_is_named_and_the_next_process_goes_on_behind_what_was_whole(tmp_path):
    with small_disk(tmp_path / "disk", 64 * KB) as disk:
        log = Log(disk / "log")
        log.write({"step": 0})
        hog = fill(disk)
        with pytest.raises(Unwritable, match=f"^{disk}/log cannot be written .No space left"):
            for step in range(1, 1000):
                log.write({"step": step, "what": "x" * 100})
        whole = read(log.path)
        assert [record["step"] for record in whole] == list(range(len(whole)))
        hog.unlink()
        Log(disk / "log").write({"step": len(whole)})
        assert [record["step"] for record in read(log.path)] == list(range(len(whole) + 1))


@dataclasses.dataclass(frozen=True)
class Kept:
    step: int
    loss: float | None
    nodes: tuple[int, ...] = ()
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    late: bool = False


def test_a_record_becomes_a_dataclass_and_what_it_has_beyond_is_passed_over():
    whole = {"step": 3, "loss": 1, "nodes": [0, 2], "sizes": {"data": 3}, "late": True}
    assert parse(Kept, whole | {"new": 1}) == Kept(3, 1, (0, 2), {"data": 3}, True)
    assert parse(Kept, {"step": 3, "loss": None}) == Kept(3, None)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"step": True}, "'step' of this Kept is True, and must be int."),
        ({"step": 1.0}, "'step' of this Kept is 1.0, and must be int."),
        ({"loss": "high"}, "'loss' of this Kept is 'high', and must be float."),
        ({"loss": math.nan}, "'loss' of this Kept is nan, and must be float."),
        (
            {"loss": 10**400},
            "'loss' of this Kept is 100000000000000000...0000000000000000000, and must be float.",
        ),
        ({"nodes": [0, "1"]}, "'nodes' of this Kept is '1', and must be int."),
        ({"nodes": 3}, "'nodes' of this Kept is 3, and must be tuple[int, ...]."),
        ({"sizes": {"data": None}}, "'sizes' of this Kept is None, and must be int."),
    ],
)
def test_a_value_of_another_type_is_named(changes, complaint):
    with pytest.raises(ValueError) as refusal:
        parse(Kept, {"step": 3, "loss": 1.0} | changes)
    assert str(refusal.value) == complaint


def test_a_missing_value_is_named():
    with pytest.raises(ValueError, match="'loss' of this Kept is missing"):
        parse(Kept, {"step": 3})


def test_what_fits_is_told_from_what_does_not():
    values, wrong = fitting(Kept, {"step": 3, "loss": [], "other": 5})
    assert values == {"step": 3} and list(wrong) == ["loss"]


def test_a_line_that_cannot_be_used_is_named_with_its_reason(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"step": 0, "loss": 1.5}\n{"step": 1}\n')
    assert salvage(path, lambda record: parse(Kept, record))[0] == [Kept(0, 1.5)]
    with pytest.raises(ValueError, match="line 2 of .*log: 'loss' of this Kept is missing. Remove"):
        read(path, lambda record: parse(Kept, record))
