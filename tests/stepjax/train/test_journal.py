"""The files of a run say what it did, and to whom the folder belongs."""

import itertools
import threading

import pytest
import tiny_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from parallel.elastic.emulated import EmulatedCluster
from parallel.elastic.formation import Rings, Stopwatch
from parallel.elastic.runtime import Recovered
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopRing
from parallel.spmd.mesh import Layout
from stepjax.train.checkpoint import Saved
from stepjax.train.journal import Journal, still_to_come
from stepjax.train.jsonl import read
from stepjax.train.trainer import Measured

MEASURED = Measured(0.1 + 0.2, {"text": 1 / 3, "audio": None}, grad_norm=2.0, tokens=600, skipped=0)
PLAN = (
    FaultPlan()
    .lose(1, 2)
    .lose(2, 2, "during")
    .back(1, 4)
    .lose(3, 5, "saving")
    .back(2, 6)
    .lose(1, 7)
)


@pytest.fixture(scope="module")
def generation():
    rings = Rings(KHopRing(6, 2), Layout(tensor=4), gpus_per_node=2)
    with EmulatedCluster(rings, FaultPlan()) as cluster:
        return cluster.next(None, after_failure=False, watch=Stopwatch())


def logged(workdir, name="metrics") -> list[dict]:
    return read(workdir / f"{name}.jsonl")


def test_a_step_is_a_line_whose_numbers_read_back_to_the_same_bits(tmp_path, generation):
    with Journal(tmp_path, tiny_run.config()) as journal:
        journal.begin(0)
        journal.step(0, MEASURED, 0.5, 0.125, generation, 1e-3, sample_ids_hash="ab")
    (line,) = logged(tmp_path)
    assert line.pop("time") > 1e9  # seconds since the epoch
    assert [line] == [
        {
            "step": 0,
            "loss": 0.1 + 0.2,
            "loss_text": 1 / 3,
            "loss_audio": None,
            "grad_norm": 2.0,
            "tokens": 600,
            "seconds": 0.5,
            "tokens_per_second": 1200.0,
            "devices": 12,
            "generation": 0,
            "learning_rate": 1e-3,
            "sample_ids_hash": "ab",
            "waited": 0.125,
        }
    ]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(point.step, point.value) for point in board.Scalars("grad_norm")] == [(0, 2.0)]


def test_a_generation_and_a_recovery_are_lines_too(tmp_path, generation):
    watch = Stopwatch(iter([0.0, 1.0, 1.5]).__next__)
    watch.lap("notice")
    watch.lap("state")
    recovered = Recovered(generation, frozenset({3, 1}), frozenset(), "replica", 0, 2, watch)
    with Journal(tmp_path, tiny_run.config(fabric_num_nodes=7)) as journal:
        journal.generation(2, generation)
        journal.recovery(2, recovered)
    formed, moved = logged(tmp_path, "events")
    assert formed.pop("time") > 1e9 and moved.pop("time") > 1e9  # seconds since the epoch
    switching = {
        "switched": len(generation.switching.commands),
        "switch_seconds": generation.switching.seconds,
    }
    assert formed == switching | {
        "event": "generation",
        "step": 2,
        "generation": 0,
        "alive": [0, 1, 2, 3, 4, 5],
        "away": [6],
        "groups": [[0, 1], [2, 3], [4, 5]],
        "mesh": {"data": 3, "fsdp": 1, "tensor": 4},
        "devices": 12,
    }
    assert moved == {
        "event": "recovery",
        "step": 2,
        "generation": 0,
        "lost": [1, 3],
        "back": [],
        "phases": {"notice": 1.0, "state": 0.5},
        "seconds": 1.5,
        "state_from": "replica",
        "steps_lost": 0,
        "cause": "",
        "compiled": 2,
    }


def test_faults_and_checkpoints_are_lines_and_what_has_happened_is_remembered(tmp_path):
    with Journal(tmp_path, tiny_run.config()) as journal:
        assert journal.injected() == []
        for fault in PLAN.faults[:2]:
            journal.fault(fault)
        journal.saved([Saved(0, seconds=0.5), Saved(3, seconds=0.25)])
        journal.saved([])
        assert journal.injected() == ["lose 1 before 2", "lose 2 during 2"]
    told = [(line["event"], line["step"]) for line in logged(tmp_path, "events")]
    assert told == [("injected", 2), ("injected", 2), ("checkpoint", 0), ("checkpoint", 3)]
    assert [line.get("seconds") for line in logged(tmp_path, "events")] == [None, None, 0.5, 0.25]


def test_a_run_that_goes_on_earlier_drops_what_it_will_do_again(tmp_path, generation):
    with Journal(tmp_path, tiny_run.config()) as journal:
        for first, last, dropped in ((0, 6, 0), (4, 5, 2), (7, 8, 0)):
            assert journal.begin(first) == dropped
            for step in range(first, last):
                journal.step(step, MEASURED, 0.5, 0.125, generation, 1e-3, "ab")
    assert [line["step"] for line in logged(tmp_path)] == [0, 1, 2, 3, 4, 7]
    undone = [line for line in logged(tmp_path, "events") if line["event"] == "undone"]
    assert [(line["step"], line["seconds"]) for line in undone] == [(4, 0.375), (5, 0.375)]


def test_what_a_program_was_waited_for_is_told_once(tmp_path):
    with Journal(tmp_path, tiny_run.config()) as journal:
        journal.compiled(0, {"update": 1.5})
        journal.compiled(2, {"update": 1.5, "gradients": 2.0})
        journal.compiled(2, {"update": 1.75, "gradients": 2.0})
    told = [(x["step"], x["program"], x["seconds"]) for x in logged(tmp_path, "events")]
    assert told == [(0, "update", 1.5), (2, "gradients", 2.0), (2, "update", 0.25)]


def test_whatever_has_happened_the_rest_of_a_plan_can_happen():
    """All sets of faults that a process may have written down before it ended."""
    texts = [str(fault) for fault in PLAN.faults]
    for size in range(len(texts) + 1):
        for happened in itertools.combinations(texts, size):
            left = still_to_come(PLAN, list(happened))
            left.check(num_nodes=6)
            lost = [str(fault) for fault in left.faults if fault.kind == "lose"]
            assert lost == [
                text for text in texts if text.startswith("lose") and text not in happened
            ]


@pytest.mark.parametrize(
    "happened, left",
    [
        ((), str(PLAN)),
        (
            ("lose 1 before 2",),
            "lose 2 during 2; lose 3 saving 5; back 2 before 6; lose 1 before 7",
        ),
        (("lose 1 before 2", "lose 2 during 2"), "lose 3 saving 5; lose 1 before 7"),
        (
            ("lose 1 before 2", "lose 2 during 2", "back 1 before 4", "lose 3 saving 5"),
            "lose 1 before 7",
        ),
    ],
)
def test_a_process_that_resumes_has_the_rest_of_the_plan_before_it(happened, left):
    assert str(still_to_come(PLAN, list(happened))) == left


def test_no_thread_is_left_behind(tmp_path, generation):
    before = threading.active_count()
    with Journal(tmp_path, tiny_run.config()) as journal:
        for step in (0, 0, 0):  # a run that goes back begins anew
            journal.begin(step)
            journal.step(step, MEASURED, 0.5, 0.125, generation, 1e-3, "ab")
    assert threading.active_count() == before
