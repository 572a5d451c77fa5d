"""Rounds one after another: a line for each as it goes, then result.json and report.html."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from parallel.fabric.faults import FaultPlan
from parallel.fabric.trace import read_trace
from parallel.show import words
from stepjax.disk.lock import Lock
from stepjax.drill import page, result
from stepjax.drill.matrix import MOST_SEEDS, Ground, Round, drawn
from stepjax.drill.rounds import Outcome, play
from stepjax.drill.soak import compressed
from stepjax.train.check import check

PROGRAMS, ROUNDS = ".programs", "rounds"  # folders
SOAK_LIMIT_S = 1200.0  # of a run through a trace
PLAN, TRACE = "plan", "trace"  # kinds that are not drawn


class Drill(NamedTuple):
    """What is to be played, all of it known to be possible."""

    config: ConfigDict
    ground: Ground
    rounds: list[Round]
    limit_s: float | None = None  # of a run
    notes: tuple[str, ...] = ()


def planned(config: ConfigDict, rounds: int, seed: int) -> Drill:
    """Rounds that are drawn; if the config has a plan, all of them have this one.

    Raises: ValueError, in one sentence, for what cannot be played.
    """
    ground, plan = _ground(config)
    if plan.faults:
        if ground.shapes(plan) is None:
            raise ValueError(
                f"faults: '{plan}' cannot be played: it leaves no ring, or takes a spare at "
                "another moment than before a step."
            )
        return Drill(config, ground, [_alike(plan, seed, number) for number in range(rounds)])
    return Drill(config, ground, [drawn(ground, seed, number) for number in range(rounds)])


def soak(config: ConfigDict, trace: Path, seed: int) -> Drill:
    """One long run through a real trace, the whole of which is compressed into its steps.

    Raises: ValueError, in one sentence, for what cannot be played.
    """
    ground, _ = _ground(config)
    plan, notes = compressed(read_trace(trace), ground)
    return Drill(config, ground, [Round(0, TRACE, plan, seed)], SOAK_LIMIT_S, notes)


def run(drill: Drill, workdir: Path) -> bool:
    """Plays all rounds, and tells what came of them, also after Ctrl-C.

    Returns: whether all recovered; see `result.perfect`.
    """
    outcomes: list[Outcome] = []
    with Lock(workdir):
        for folder in (PROGRAMS, ROUNDS):
            shutil.rmtree(workdir / folder, ignore_errors=True)
            (workdir / folder).mkdir()
        try:
            for note in drill.notes:
                print(note)
            for outcome in _played(drill, workdir):
                outcomes.append(outcome)
                _say(outcome, len(drill.rounds), workdir)
        finally:
            shutil.rmtree(workdir / PROGRAMS, ignore_errors=True)
            if not any((workdir / ROUNDS).iterdir()):
                (workdir / ROUNDS).rmdir()
            numbers = result.summary(outcomes)
            result.write(numbers, workdir)
            page.write(numbers, outcomes, workdir)
            if outcomes:
                result.show(numbers)
    return result.perfect(numbers)


def _played(drill: Drill, workdir: Path) -> Iterator[Outcome]:
    for round in drill.rounds:
        shapes, folder = drill.ground.shapes(round.plan), workdir / ROUNDS / str(round.number)
        try:
            yield play(drill.config, round, shapes, folder, workdir / PROGRAMS, drill.limit_s)
        except KeyboardInterrupt:
            shutil.rmtree(folder)  # it has neither recovered nor failed
            raise


def _say(outcome: Outcome, rounds: int, workdir: Path) -> None:
    round, came = outcome.round, "recovered" if outcome.recovered else "NOT RECOVERED"
    what = f"{result.in_words(round.kind)}: {round.plan}"
    took = words.seconds(outcome.seconds)
    print(words.clip(f"round {round.number + 1}/{rounds} {came} in {took}, {what}"), flush=True)
    if outcome.why:
        print(f"    {outcome.why} See {workdir / ROUNDS / str(round.number)}.", flush=True)


def _ground(config: ConfigDict) -> tuple[Ground, FaultPlan]:
    topology, layout, plan = check(config)
    gpus, every = config.fabric.gpus_per_node, config.checkpoint.every
    return Ground(topology, layout, gpus, config.steps, every), plan


def _alike(plan: FaultPlan, seed: int, number: int) -> Round:
    return Round(number, PLAN, plan, (seed + number) % MOST_SEEDS)
