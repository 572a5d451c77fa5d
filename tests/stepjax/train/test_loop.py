"""Runs that are lost, stopped and interrupted end where one to which nothing happens ends."""

import dataclasses
import os
import signal
import threading

import numpy as np
import pytest
import tiny_run
from hypothesis import given
from hypothesis import strategies as st
from threads import left_behind

from configs import tiny
from stepjax.train.journal import Journal
from stepjax.train.jsonl import read
from stepjax.train.loop import Feed, Interrupt, Stopped
from stepjax.train.optimizer import OptimizerConfig, learning_rate
from stepjax.train.trainer import NotFinite

SPLIT = {
    "fabric_num_nodes": 5,
    "mesh_tensor": 2,
    "mesh_fsdp": 2,
}  # each node holds half of the state


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = set(threading.enumerate())
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert left_behind(before) == []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def sources(workdir) -> list[str]:
    return [line["state_from"] for line in tiny_run.events(workdir, "recovery")]


def test_a_run_through_losses_and_a_return_ends_like_one_without(tmp_path):
    result = tiny_run.train(
        tiny_run.config(tiny.get_config().faults + "; lose 2 saving 7"), tmp_path
    )
    assert tiny_run.trajectory(tmp_path) == tiny_run.without_faults().trajectory
    assert result["heldout"] == tiny_run.without_faults().result["heldout"]
    assert (result["faults"], result["rejoins"], result["generations"]) == (3, 1, 5)
    assert result["steps_lost"] == result["samples_lost"] == result["samples_repeated"] == 0
    assert sources(tmp_path) == ["replica"] * 4
    assert [line["devices"] for line in read(tmp_path / "metrics.jsonl")] == [
        12,
        12,
        8,
        8,
        12,
        8,
        8,
        8,
    ]
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_last_ring_lives_on_its_neighbours_copies_and_then_on_the_checkpoint(tmp_path):
    """From step 1 on nodes 4 and 5 hold a half of the state each, and a copy of the other half."""
    plan = "lose 0 before 1; lose 1 before 1; lose 2 before 1; lose 4 during 3; "
    plan += "back 0 before 5; back 1 before 5; lose 3 before 5; lose 5 before 5"
    result = tiny_run.train(tiny_run.config(plan), tmp_path, scored=False)
    assert sources(tmp_path)[:3] == ["replica", "neighbour", "checkpoint"]
    assert result["steps_lost"] == 2  # back from step 5 to the checkpoint of step 3
    assert result["samples_lost"] == result["samples_repeated"] == 0
    assert tiny_run.trajectory(tmp_path) == tiny_run.without_faults().trajectory


@pytest.mark.slow
def test_where_nobody_else_holds_it_the_ring_neighbours_copy_serves(tmp_path):
    plan = "lose 0 before 1; lose 1 before 1; lose 4 before 1; lose 2 during 3; back 0 before 4"
    result = tiny_run.train(tiny_run.config(plan, **SPLIT), tmp_path, scored=False)
    assert sources(tmp_path) == ["replica", "neighbour", "replica"]
    assert result["steps_lost"] == 0
    assert (
        tiny_run.trajectory(tmp_path) == tiny_run.without_faults(scored=False, **SPLIT).trajectory
    )


@pytest.mark.slow
def test_where_the_copy_is_lost_too_the_last_checkpoint_serves(tmp_path):
    plan = (
        "lose 0 before 1; lose 1 before 1; lose 4 before 1; back 4 before 4; lose 2 during 5; "
        "lose 3 during 5"
    )
    result = tiny_run.train(tiny_run.config(plan, **SPLIT), tmp_path, scored=False)
    assert sources(tmp_path)[:3] == ["replica", "replica", "checkpoint"]
    assert result["steps_lost"] == 2  # back from step 5 to the checkpoint of step 3
    assert result["samples_lost"] == result["samples_repeated"] == 0
    assert (
        tiny_run.trajectory(tmp_path) == tiny_run.without_faults(scored=False, **SPLIT).trajectory
    )


@pytest.mark.parametrize("left, state_is_whole", [("0 and 3", True), ("5", False)])
def test_where_no_ring_is_left_the_run_says_so_and_the_same_command_resumes_it(
    tmp_path, left, state_is_whole
):
    """Nodes 0 and 3 hold a half of the state each, and are too far apart for a ring."""
    nodes = {int(node) for node in left.split(" and ")}
    plan = "; ".join(f"lose {node} during 4" for node in range(6) if node not in nodes)
    saved = 4 if state_is_whole else 3
    with pytest.raises(Stopped) as stopped:
        tiny_run.train(tiny_run.config(plan), tmp_path)
    assert str(stopped.value) == (
        f"stopped before step 4, with {saved} steps saved: no ring can be formed of the nodes that "
        "are left, "
        f"{sorted(nodes)}: tensor=4 needs 2 nodes, each at most 2 from the next; repair nodes and "
        "start again with "
        "the same command."
    )
    assert not (tmp_path / "result.json").exists()
    result = tiny_run.train(tiny_run.config(plan), tmp_path)
    assert tiny_run.trajectory(tmp_path) == tiny_run.without_faults().trajectory
    assert result["heldout"] == tiny_run.without_faults().result["heldout"]
    assert result["steps_lost"] == 4 - saved
    assert result["samples_lost"] == result["samples_repeated"] == 0


def after_step(monkeypatch, step: int, do) -> None:
    """Calls `do` when the line of a step was written."""
    write = Journal.step

    def and_do(journal, n, *args, **fields):
        write(journal, n, *args, **fields)
        if n == step:
            do()

    monkeypatch.setattr(Journal, "step", and_do)


def test_an_interrupted_run_saves_its_step_and_goes_on_there(tmp_path, monkeypatch):
    with (
        monkeypatch.context() as patch,
        pytest.raises(Stopped, match="before step 5, with 5 steps saved: interrupted"),
    ):
        after_step(patch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
        tiny_run.train(tiny_run.config("lose 1 before 4"), tmp_path)
    assert (
        tiny_run.events(tmp_path, "stop")[0]["reason"]
        == "interrupted; the same command goes on from here"
    )
    result = tiny_run.train(tiny_run.config("lose 1 before 4"), tmp_path)
    assert tiny_run.trajectory(tmp_path) == tiny_run.without_faults().trajectory
    assert (result["steps_lost"], result["faults"]) == (
        0,
        1,
    )  # the loss does not happen a second time
    assert [line["resumed"] for line in tiny_run.events(tmp_path, "start")] == [False, True]
    once_more = tiny_run.train(
        tiny_run.config("lose 1 before 4"), tmp_path
    )  # when there is nothing left to do
    of_another_process = {"generations": 3, "goodput": None}
    assert once_more | of_another_process == result | of_another_process


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_an_older_one(tmp_path, capsys):
    tiny_run.train(tiny_run.config(), tmp_path, scored=False)
    newest = tmp_path / "checkpoints/8/arrays/_METADATA"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    tiny_run.train(tiny_run.config(), tmp_path, scored=False)
    (damaged,) = tiny_run.events(tmp_path, "damaged")
    reason = f"{newest} is not what was written"
    assert (damaged["step"], damaged["restored"], damaged["reason"]) == (8, 6, reason)
    assert "checkpoint 8 is damaged, 6 is used" in capsys.readouterr().out
    assert tiny_run.trajectory(tmp_path) == tiny_run.without_faults(scored=False).trajectory
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["6", "8"]


def test_a_plan_that_only_processes_can_act_out_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="'stop 1 during 2': an emulated node has no process"):
        tiny_run.train(tiny_run.config("stop 1 during 2"), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_second_interrupt_stops_at_once():
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        interrupt.take_over()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)


def poison(patch, *steps: int) -> None:
    """In these steps a recording holds a number that is not finite."""
    at = Feed.at

    def poisoned(feed, n):
        batch = at(feed, n)
        if n not in steps:
            return batch
        audio = batch.arrays["audio"].copy()
        audio[-1, 0] = np.nan
        return dataclasses.replace(batch, arrays=batch.arrays | {"audio": audio})

    patch.setattr(Feed, "at", poisoned)


def test_steps_that_are_not_finite_are_skipped_alike_with_and_without_faults(tmp_path, monkeypatch):
    poison(monkeypatch, 2, 3, 5)
    quiet, faulted = tmp_path / "quiet", tmp_path / "faulted"
    plan = "lose 1 before 2; lose 4 during 3; back 1 before 5; lose 2 during 5"
    results = [
        tiny_run.train(tiny_run.config(faults), folder)
        for faults, folder in (("", quiet), (plan, faulted))
    ]
    assert tiny_run.trajectory(faulted) == tiny_run.trajectory(quiet)
    assert results[0]["heldout"] == results[1]["heldout"]
    assert [result["skipped_steps"] for result in results] == [3, 3]
    lines = read(faulted / "metrics.jsonl")
    assert [line["step"] for line in lines if line["loss"] is None] == [2, 3, 5]
    assert [line["step"] for line in tiny_run.events(faulted, "skipped")] == [2, 3, 5]
    rate = learning_rate(OptimizerConfig.of(tiny_run.config().optimizer), steps=8)
    used = [float(rate(n)) for n in (0, 1, 2, 2, 2, 3, 3, 4)]  # skipped steps warm nothing up
    assert [line["learning_rate"] for line in lines] == used


def test_after_too_many_in_a_row_the_run_stops_also_where_it_was_resumed_among_them(
    tmp_path, monkeypatch
):
    poison(monkeypatch, 2, 3, 4)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        after_step(patch, 3, lambda: os.kill(os.getpid(), signal.SIGINT))
        tiny_run.train(tiny_run.config(), tmp_path)
    for faults in ("", "lose 1 before 4"):
        with pytest.raises(NotFinite) as stopped:
            tiny_run.train(tiny_run.config(faults), tmp_path)
        assert str(stopped.value) == (
            "the loss or gradient of steps 2 to 4 is not finite; lower optimizer.learning_rate or "
            "optimizer.clip, and train in another --workdir."
        )
    assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_batches_are_fed_by_number_in_any_order(order):
    feed = Feed([f"batch {n}" for n in range(10)], stop=10)
    assert [feed.at(n) for n in order] == [f"batch {n}" for n in order]
    feed.close()
