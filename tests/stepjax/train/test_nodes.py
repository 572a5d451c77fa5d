"""With a process for each node, the journal has each line once, and the numbers are the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run

from configs import tiny
from parallel.fabric.faults import Fault
from stepjax import numerics
from stepjax.train import events
from stepjax.train.checkpoint import Checkpoints
from stepjax.train.goodput import PARTS
from stepjax.train.journal import Journal
from stepjax.train.jsonl import read
from stepjax.train.loop import Stopped
from stepjax.train.nodes import Desk

ROOT = Path(__file__).parents[3]


def line(step: int, loss: float = 1.0) -> events.StepLine:
    return events.StepLine(step, loss, None, None, 1.0, 10, 0.5, 20.0, 12, 0, 1e-3, "ab")


def recovery(step: int, generation: int) -> events.Recovery:
    return events.Recovery(step, generation, (3,), (), {"notice": 0.1}, 0.1, "replica", 0)


class Saved:
    """A store that remembers."""

    def __init__(self):
        self.saved = []

    def save(self, step, whole):
        self.saved.append((step, whole))

    def note_saved(self, wait=False):
        pass


@pytest.fixture
def desk(tmp_path):
    with Journal(tmp_path, tiny_run.config()) as journal:
        journal.begin(0)
        with Desk(journal, Saved()) as made:
            yield made


def test_what_several_nodes_tell_is_written_once(desk, tmp_path):
    for _ in range(3):
        for step in (0, 1):
            desk.note(line(step))
        desk.note(events.Generation(1, 1, (0,), (), ((0, 1),), {}, 12, 0, 0.0))
    assert [x["step"] for x in read(tmp_path / "metrics.jsonl")] == [0, 1]
    assert len(tiny_run.events(tmp_path, "generation")) == 1


def test_after_going_back_steps_are_told_anew(desk, tmp_path):
    for step in (0, 1, 2):
        desk.note(line(step))
    assert desk.began((1, "state")) == (1, "state")
    desk.note(line(1, loss=2.0))
    assert [x["loss"] for x in read(tmp_path / "metrics.jsonl")] == [1.0, 1.0, 1.0, 2.0]


def test_a_recovery_says_who_failed_and_how_that_was_noticed(desk, tmp_path):
    desk.lost(3, "its process was ended by SIGKILL")
    for generation in (1, 2):
        desk.note(events.Generation(2, generation, (0,), (3,), ((0, 1),), {}, 12, 0, 0.0))
        desk.note(recovery(2, generation))
    causes = [x["cause"] for x in tiny_run.events(tmp_path, "recovery")]
    assert causes == ["node 3: its process was ended by SIGKILL", ""]


def test_a_fault_of_the_plan_is_written_down(desk, tmp_path):
    desk.fault(Fault("lose", 3, 2))
    assert [x["what"] for x in tiny_run.events(tmp_path, "injected")] == ["lose 3 before 2"]


def test_a_state_of_which_a_part_is_gone_is_not_saved(desk):
    def gone():
        raise RuntimeError("nobody has it")

    desk.save(3, gone)
    desk.save(4, lambda: np.ones(2))
    desk.wait()
    (three, nothing), (four, whole) = desk._store.saved
    assert (three, nothing, four, whole.tolist()) == (3, None, 4, [1.0, 1.0])


def on_processes(workdir: Path, *flags: str) -> subprocess.CompletedProcess:
    """The whole command, with configs/tiny.py."""
    command = [sys.executable, "-m", "launch.train", "--config=configs/tiny.py", "--nodes=6"]
    return subprocess.run(
        [*command, *flags, f"--workdir={workdir}"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.slow
def test_real_kills_leave_the_numbers_of_emulated_ones(tmp_path):
    """With the plan of configs/tiny.py: two nodes are killed, one comes back."""
    done = on_processes(tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["faults"], result["rejoins"], result["steps_lost"]) == (2, 1, 0)
    assert result["samples_lost"] == result["samples_repeated"] == 0
    emulated = tmp_path / "emulated"
    numbers = tiny_run.train(tiny_run.config(tiny.get_config().faults), emulated)
    assert tiny_run.trajectory(tmp_path) == tiny_run.trajectory(emulated)
    assert result["heldout"] == numbers["heldout"]
    causes = [x["cause"] for x in tiny_run.events(tmp_path, "recovery") if x["lost"]]
    assert all("SIGKILL" in cause for cause in causes)
    (start,), (end,) = tiny_run.events(tmp_path, "start"), tiny_run.events(tmp_path, "end")
    spent = {part: result["goodput"][part] for part in PARTS}
    assert sum(spent.values()) == pytest.approx(end["time"] - start["began"])
    assert min(spent[part] for part in ("stepping", "compiling", "recovering", "waiting")) > 0


@pytest.mark.slow
def test_a_run_that_is_not_finite_is_given_up_by_all_nodes_at_the_same_step(tmp_path, monkeypatch):
    """Resumed from a checkpoint whose parameters are too large, with a kill among the steps that
    are skipped.
    """
    save = Checkpoints.save

    def too_large(checkpoints, step, state):
        params = jax.tree.map(lambda x: 1e38 * x, state.params)
        save(checkpoints, step, state._replace(params=params))

    monkeypatch.setattr(Checkpoints, "save", too_large)
    monkeypatch.setenv("NPROC", str(numerics.THREADS))  # as the command, which resumes the run
    rings_lost = "; ".join(f"lose {node} before 2" for node in range(5))
    with pytest.raises(Stopped):
        tiny_run.train(tiny_run.config(rings_lost, checkpoint_every=2), tmp_path)
    done = on_processes(tmp_path, "--config.faults=lose 1 during 3")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the loss or gradient of steps 2 to 4 is not finite" in done.stderr
    losses = [x["loss"] is None for x in read(tmp_path / "metrics.jsonl")]
    assert losses == [False, False, True, True]
    assert [x["step"] for x in tiny_run.events(tmp_path, "skipped")] == [2, 3]
