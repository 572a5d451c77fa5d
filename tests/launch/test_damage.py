"""Whatever happens to its process or its disk, the same command ends with the same bits."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_disk import KB, grow, small_disk
from tiny_command import ALONE, LIMIT, run, start, trajectory

from stepjax.disk import checkpoint
from stepjax.disk.lock import Lock
from stepjax.train.jsonl import salvage

WRITTEN = (  # in this order, by a run of eight steps
    "lock", "config.json", "recipe.partial", "identity.json", "checkpoints/0.partial",
    "checkpoints/0", "checkpoints/6.partial", "checkpoints/8",
)  # fmt: skip


def saved(workdir: Path) -> list[int]:
    """The steps of which the run has said that they are saved."""
    records, _ = salvage(workdir / "events.jsonl")
    return [record["step"] for record in records if record["event"] == "checkpoint"]


@pytest.mark.parametrize(
    ("size", "fits"), [(1000, [0]), pytest.param(400, [], marks=pytest.mark.slow)]
)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    finished, tmp_path, size, fits
):
    with small_disk(tmp_path / "disk", size * KB) as disk:
        stopped = run(f"--workdir={disk}", command=ALONE)
        assert stopped.returncode == 1 and stopped.stderr.count("\n") == 1, stopped.stderr
        assert stopped.stderr.startswith(f"{disk}/")
        assert "cannot be written (No space left on device)" in stopped.stderr
        assert checkpoint.steps(disk / "checkpoints") == fits and set(saved(disk)) <= set(fits)
        for step in fits:
            checkpoint.read(disk / f"checkpoints/{step}")
        assert not (disk / "result.json").exists()
        grow(disk, 8 * 1024 * KB)
        resumed = run(f"--workdir={disk}", command=ALONE)
        assert resumed.returncode == 0, resumed.stderr
        assert trajectory(disk) == trajectory(finished)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    with Lock(tmp_path):
        second = run(f"--workdir={tmp_path}", command=ALONE)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert second.returncode == 1 and second.stderr == (
        f"{tmp_path} is in use by process {os.getpid()}, a run that has not ended: wait for it, "
        "stop it, or use another --workdir.\n"
    )


@pytest.mark.parametrize("path", [
    "checkpoints/3.partial",
    *(pytest.param(path, marks=pytest.mark.slow) for path in WRITTEN),
])  # fmt: skip
def test_a_run_that_is_killed_while_it_writes_goes_on_to_the_same_bits(finished, tmp_path, path):
    with start(f"--workdir={tmp_path}", command=ALONE) as process:
        came = has_come(lambda: (tmp_path / path).exists(), process)
        time.sleep(np.random.default_rng(len(path)).uniform(0, 0.02))
        process.kill()
    assert came and process.returncode == -signal.SIGKILL
    goes_on_to_the_same_bits(tmp_path, finished)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_run_that_is_killed_at_any_moment_goes_on_to_the_same_bits(
    finished, tmp_path, life, seed
):
    share = np.random.default_rng(seed).uniform(seed, seed + 1) / 12
    for attempt in range(3):
        workdir, began = tmp_path / str(attempt), time.monotonic()
        with start(f"--workdir={workdir}", command=ALONE) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(share * life)
            process.kill()
        if process.returncode == -signal.SIGKILL:
            break
        life = time.monotonic() - began  # a machine may be faster now than when it was measured
    assert process.returncode == -signal.SIGKILL
    goes_on_to_the_same_bits(workdir, finished)


@pytest.fixture(scope="module")
def life(tmp_path_factory) -> float:
    """Seconds from the start of a process to its end."""
    began = time.monotonic()
    done = run(f"--workdir={tmp_path_factory.mktemp('life')}", command=ALONE)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def goes_on_to_the_same_bits(workdir: Path, finished: Path) -> None:
    """The same command does the steps that are left, and is not waited for beyond them."""
    if said := saved(workdir):
        step, _, damaged = checkpoint.newest(workdir / "checkpoints")
        assert not damaged and step >= max(said)
    if len(trajectory(workdir)) == len(trajectory(finished)):
        assert run(f"--workdir={workdir}", command=ALONE).returncode == 0
    else:
        with start(f"--workdir={workdir}", command=ALONE) as process:
            steps = len(trajectory(finished))
            came = has_come(lambda: len(trajectory(workdir)) == steps, process)
            process.kill()
            assert came, process.stderr.read()
    assert trajectory(workdir) == trajectory(finished)


def has_come(moment: Callable[[], bool], process: subprocess.Popen) -> bool:
    """Waits for a moment in the life of a process; False if the process ended before."""
    until = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < until:
        if moment():
            return True
        time.sleep(0.001)
    return False
