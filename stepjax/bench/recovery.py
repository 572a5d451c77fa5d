"""Seconds from a lost node to the step done again, beside those of starting everything anew; and
what it costs to copy state to neighbours after every step.
"""

import contextlib
import dataclasses
import io
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from ml_collections import ConfigDict

from parallel.elastic.processes import rendezvous
from parallel.elastic.processes.member import USUAL
from parallel.fabric.faults import FaultPlan
from stepjax.bench.result import Result
from stepjax.train import nodes
from stepjax.train.events import Event, Recovery, Start, parse_event, parse_step
from stepjax.train.jsonl import read

Kind = TypeVar("Kind", bound=Event)

WAIT_SECONDS = 300  # for a process to come to its next step


def run(config: ConfigDict) -> Result:
    """Measures `launch.train`, on emulated nodes and on processes, with a config's part `recovery`.

    Returns: rows of both worlds. The summary is that of processes, with `copy_overhead`, and has
      that of `emulated` nodes inside.
    """
    found = {}
    for world in ("emulated", "processes"):
        part = config[world]
        command = [
            sys.executable,
            "-m",
            "launch.train",
            f"--config={part.config}",
            f"--nodes={part.nodes}",
            f"--config.steps={part.steps}",
            f"--config.checkpoint.every={part.checkpoint_every}",
            f"--config.faults={part.faults}",
        ]
        with tempfile.TemporaryDirectory() as folder:
            found[world] = recovery_against_restart(command, Path(folder), part.restarts)
    rows = [{"world": world, **row} for world, result in found.items() for row in result.rows]
    emulated, processes = found["emulated"].summary, found["processes"].summary
    copying = {"copy_overhead": copy_overhead(config.copies.run, config.copies.every)}
    return Result(rows, processes | copying | {"emulated": emulated})


def copy_overhead(config: ConfigDict, every: int) -> float:
    """What copying at every step adds to a step's seconds, as a share of them.

    In one run on processes, the state is copied at every `every`th step. That costs the step at
    whose end it begins, and the next one, under which it is hidden; all others are without.
    """
    limits = dataclasses.replace(USUAL, copy_every=every)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        nodes.train(config, Path(folder), limits=limits)
        lines = read(Path(folder) / "metrics.jsonl", parse_step)
    seconds = {line.step: line.seconds for line in lines}
    with_copy, without = [], []
    for first in range(every - 1, len(lines) - every, every):  # its end begins a copy
        cycle = [seconds[first + i] for i in range(every)]
        with_copy.append(sum(cycle[:2]))
        without.append(statistics.mean(cycle[2:]))
    added = statistics.median(
        both - 2 * plain for both, plain in zip(with_copy, without, strict=True)
    )
    return added / statistics.median(without)


def recovery_against_restart(command: list[str], workdir: Path, restarts: int) -> Result:
    """Runs `command` until the faults of its plan are behind it, kills it, and starts it again.

    Seconds count from the moment when a loss is noticed, or from the start of the new process, to
    the first step that is done afterwards.

    Returns: rows with `kind` ("recovery", with `phases`, or "restart") and `seconds`; the summary
      has both medians, `speedup`, and the `compilations` in all recoveries together.
    """
    with _process(command, workdir) as process:
        lost = _planned_losses(workdir, process)
        recoveries = _wait(
            lambda: _recoveries(workdir, lost), process, "the last fault of the plan"
        )
    rows = [{"kind": "recovery", "seconds": r.seconds, "phases": r.phases} for r in recoveries]
    for _ in range(restarts):
        before = len(read(workdir / "events.jsonl"))
        began = time.time()
        with _process(command, workdir) as process:
            _wait(lambda: _first_step_after(workdir, before), process, "the first step")
        rows.append({"kind": "restart", "seconds": time.time() - began})
    recovery, restart = (
        statistics.median(row["seconds"] for row in rows if row["kind"] == kind)
        for kind in ("recovery", "restart")
    )
    phases = {p: statistics.median(r.phases[p] for r in recoveries) for p in recoveries[0].phases}
    summary = {
        "median_seconds": recovery,
        "restart_seconds": restart,
        "speedup": restart / recovery,
        "compilations": sum(r.compiled for r in recoveries),
    }
    return Result(rows, summary | {"phases": phases})


def _planned_losses(workdir: Path, process: subprocess.Popen) -> int:
    def plan():
        starts = _events(workdir, Start)
        return FaultPlan.parse(starts[0].plan) if starts else None

    return sum(fault.loses for fault in _wait(plan, process, "its start").faults)


def _recoveries(workdir: Path, wanted: int) -> list[Recovery] | None:
    losses = [recovery for recovery in _events(workdir, Recovery) if recovery.lost]
    return losses if len(losses) >= wanted else None


def _first_step_after(workdir: Path, num_events: int) -> bool:
    """Whether a process that has logged its start since has finished a step."""
    events = read(workdir / "events.jsonl", parse_event)[num_events:]
    started = [event.step for event in events if isinstance(event, Start)]
    return bool(started) and any(
        line.step >= started[0] for line in read(workdir / "metrics.jsonl", parse_step)[-3:]
    )


def _events(workdir: Path, kind: type[Kind]) -> list[Kind]:
    """The events of one kind that a run has logged so far."""
    events = read(workdir / "events.jsonl", parse_event)
    return [event for event in events if isinstance(event, kind)]


def _wait(look, process: subprocess.Popen, what: str):
    """What `look` sees, as soon as it sees something."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        seen = look()
        if seen:
            return seen
        if process.poll() is not None:
            code = process.returncode
            raise RuntimeError(
                f"the run ended with code {code} before {what}; run it by itself to see why."
            )
        time.sleep(0.02)
    raise TimeoutError(
        f"waited {WAIT_SECONDS} s for {what}; the machine is too slow or too busy for this "
        "measurement."
    )


@contextlib.contextmanager
def _process(command: list[str], workdir: Path) -> Iterator[subprocess.Popen]:
    """A child that is killed, with all of its own and its nodes, when the block ends."""
    process = subprocess.Popen(
        [*command, f"--workdir={workdir}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if run := rendezvous.read(workdir / rendezvous.NAME):
            for node in rendezvous.alive(run).values():
                node.kill()
                node.join()
