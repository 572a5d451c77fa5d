"""Measurements that the claims of the README stand on. Each compares side by side within one
run.
"""

import contextlib
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from parallel.elastic.inject import EmulatedCluster
from parallel.elastic.supervisor import Supervisor
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopLine
from parallel.spmd.mesh import Layout
from stepjax.train import corpus as corpora
from stepjax.train.jsonl import read
from stepjax.train.loop import model_and_step
from stepjax.train.step import trained_on
from stepjax.train.trainer import Trainer

MESHES = ((1, 1, 1), (2, 2, 4), (4, 2, 4), (8, 2, 4))  # nodes, GPUs of a node, devices of a ring
WAIT_SECONDS = 300  # for a process to come to its next step


def mesh_overhead(config: ConfigDict, steps: int) -> tuple[list[dict], dict]:
    """Seconds of a step of the same global batch on 1, 4, 8 and 16 devices, taking turns.

    Returns: rows with `devices`, `seconds` (median), `fastest`, `slowest`; and the summary with
    `overhead`, the median over turns of 16 devices' seconds over one device's.
    """
    splits = corpora.open_splits(config.data)
    recipe = corpora.fit(splits, config.data, config.seed, multiple=4)
    corpus = corpora.make(splits, recipe, config.data, config.seed)
    arrays = trained_on(corpus.batches[0].arrays)
    with contextlib.ExitStack() as stack:
        trainers = [stack.enter_context(_on_mesh(config, corpus, arrays, *mesh)) for mesh in MESHES]
        seconds = np.array(
            [[_seconds(trainer, n, arrays) for trainer in trainers] for n in range(steps + 1)]
        )[1:]
    rows = [
        {
            "devices": n * g,
            "seconds": float(np.median(s)),
            "fastest": float(s.min()),
            "slowest": float(s.max()),
        }
        for (n, g, _), s in zip(MESHES, seconds.T, strict=True)
    ]
    ratios = seconds[:, -1] / seconds[:, 0]
    spread = {"fastest": float(ratios.min()), "slowest": float(ratios.max())}
    return rows, {
        "overhead": float(np.median(ratios)),
        "overhead_over_turns": spread,
        "steps": steps,
    }


@contextlib.contextmanager
def _on_mesh(
    config, corpus, arrays, num_nodes: int, gpus_per_node: int, tensor: int
) -> Iterator[Trainer]:
    make_params, step = model_and_step(config, corpus.recipe.vocabulary.size)
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in arrays.items()}
    with EmulatedCluster(num_nodes, gpus_per_node, FaultPlan()) as cluster:
        supervisor = Supervisor(cluster, KHopLine(num_nodes, 2), Layout(tensor), gpus_per_node)
        trainer = Trainer(step, supervisor, shapes, config.data.microbatch, config.objective)
        trainer.initialize(make_params)
        yield trainer


def _seconds(trainer: Trainer, n: int, arrays) -> float:
    began = time.perf_counter()
    trainer.train_on(n, arrays)
    jax.block_until_ready(trainer.state)
    return time.perf_counter() - began


def recovery_against_restart(
    command: list[str], workdir: Path, restarts: int
) -> tuple[list[dict], dict]:
    """Seconds from a loss being noticed to the step done again, beside those of a new process from
    a checkpoint.

    Runs `command` until the faults of its plan are behind it, kills it, and starts it again,
    several times.

    Returns: rows with `kind` ("recovery", with `phases`, or "restart") and `seconds`; and the
    summary with both medians and `speedup`.
    """
    with _process([*command, f"--workdir={workdir}"]) as process:
        lost = _planned_losses(workdir, process)
        recoveries = _wait(
            lambda: _recoveries(workdir, lost), process, "the last fault of the plan"
        )
    rows = [
        {"kind": "recovery", "seconds": r["seconds"], "phases": r["phases"]} for r in recoveries
    ]
    for _ in range(restarts):
        before = len(read(workdir / "events.jsonl"))
        began = time.time()
        with _process([*command, f"--workdir={workdir}"]) as process:
            _wait(lambda: _first_step_after(workdir, before), process, "the first step")
        rows.append({"kind": "restart", "seconds": time.time() - began})
    recovery, restart = (
        statistics.median(row["seconds"] for row in rows if row["kind"] == kind)
        for kind in ("recovery", "restart")
    )
    phases = {
        p: statistics.median(r["phases"][p] for r in recoveries) for p in recoveries[0]["phases"]
    }
    summary = {
        "recovery_seconds": recovery,
        "restart_seconds": restart,
        "speedup": restart / recovery,
    }
    return rows, summary | {"phases": phases}


def _planned_losses(workdir: Path, process: subprocess.Popen) -> int:
    def plan():
        starts = [event for event in read(workdir / "events.jsonl") if event["event"] == "start"]
        return FaultPlan.parse(starts[0]["plan"]) if starts else None

    return sum(fault.kind == "lose" for fault in _wait(plan, process, "its start").faults)


def _recoveries(workdir: Path, wanted: int) -> list[dict] | None:
    losses = [e for e in read(workdir / "events.jsonl") if e["event"] == "recovery" and e["gone"]]
    return losses if len(losses) >= wanted else None


def _first_step_after(workdir: Path, num_events: int) -> bool:
    """Whether a process that has logged its start since has finished a step."""
    events = read(workdir / "events.jsonl")[num_events:]
    started = [event["step"] for event in events if event["event"] == "start"]
    return bool(started) and any(
        line["step"] >= started[0] for line in read(workdir / "metrics.jsonl")[-3:]
    )


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
def _process(command: list[str]) -> Iterator[subprocess.Popen]:
    """A child that is killed, with all of its own, when the block ends."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
