"""What rounds come to together, for programs and for people."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parallel.fabric.faults import FaultPlan
from parallel.show import words
from parallel.show.table import print_table
from stepjax.disk import files
from stepjax.drill.matrix import KINDS
from stepjax.drill.rounds import Outcome
from stepjax.report.story import Story
from stepjax.train.events import Injected, Recovery

# Beside the phases of a recovery, which begins when a survivor is told: what came before it, all of
# its phases, and both together.
UNNOTICED, WHOLE, OUTAGE = "unnoticed", "recovery", "outage"


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The numbers of result.json, of all rounds and of each."""
    apart = [o.max_loss_difference for o in outcomes if o.max_loss_difference is not None]
    return {
        "rounds": len(outcomes),
        "recovered": sum(outcome.recovered for outcome in outcomes),
        "steps_lost": sum(outcome.run.numbers.steps_lost for outcome in outcomes),
        "samples_lost": sum(outcome.run.numbers.samples_lost or 0 for outcome in outcomes),
        "samples_repeated": sum(outcome.run.numbers.samples_repeated or 0 for outcome in outcomes),
        "max_loss_difference": max(apart, default=None),
        "left_behind": sum(len(outcome.left_behind) for outcome in outcomes),
        "seconds": seconds_by_phase([outcome.run for outcome in outcomes]),
        "by_fault": by_fault(outcomes),
        "each": [_one(outcome) for outcome in outcomes],
    }


def seconds_by_phase(runs: Iterable[Story]) -> dict[str, dict[str, float]]:
    """Median, 95th percentile and maximum of every phase, and of what UNNOTICED names."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for recovery, failed in mended(run):
            took = {**recovery.phases, WHOLE: recovery.seconds}
            if failed is not None:
                outage = recovery.time - failed
                took = {UNNOTICED: max(0.0, outage - recovery.seconds), **took, OUTAGE: outage}
            for phase, s in took.items():
                if s is not None:
                    found.setdefault(phase, []).append(s)
    return {phase: _spread(took) for phase, took in found.items()}


def mended(run: Story) -> Iterator[tuple[Recovery, float | None]]:
    """Every recovery, and the time of the first planned failure that it mended, if any did."""
    failed: dict[int, float] = {}  # by node
    for event in run.events:
        if isinstance(event, Injected):
            (fault,) = FaultPlan.parse(event.what).faults
            failed.pop(fault.node, None)
            if fault.loses:
                failed[fault.node] = event.time
        elif isinstance(event, Recovery):
            yield event, min((failed[n] for n in event.lost if n in failed), default=None)
            failed = {n: time for n, time in failed.items() if n not in event.lost}


def by_fault(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """By kind, in the order in which the kinds first came: rounds, and those that recovered."""
    found: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        counts = found.setdefault(outcome.round.kind, {"rounds": 0, "recovered": 0})
        counts["rounds"] += 1
        counts["recovered"] += outcome.recovered
    return found


def perfect(numbers: dict[str, Any]) -> bool:
    """Whether every round recovered, and nothing was lost for good.

    A step may be done again: two nodes that are lost together may hold all copies of some part of
    the state, and the run goes back to its last checkpoint.
    """
    zeros = ("samples_lost", "samples_repeated", "left_behind", "max_loss_difference")
    return (
        numbers["rounds"] > 0
        and numbers["recovered"] == numbers["rounds"]
        and all(numbers[name] == 0 for name in zeros)
    )


def write(numbers: dict[str, Any], workdir: Path) -> None:
    """Writes result.json."""
    files.replace(workdir / "result.json", json.dumps(numbers, indent=1) + "\n")


def show(numbers: dict[str, Any]) -> None:
    """Prints rounds by kind and seconds by phase, and all in a sentence."""
    rows = [
        [name, str(counts["rounds"]), str(counts["recovered"]), in_words(name)]
        for name, counts in numbers["by_fault"].items()
    ]
    head, right = ["kind", "rounds", "recovered", "in words"], [False, True, True, False]
    print_table("rounds", head, right, rows)
    rows = [
        [phase, *(words.seconds(spread[name]) for name in ("p50", "p95", "max"))]
        for phase, spread in numbers["seconds"].items()
    ]
    print_table("recoveries", ["phase", "median", "95 %", "longest"], [False, *3 * [True]], rows)
    print(verdict(numbers))


def in_words(kind: str) -> str:
    """What happens in a round of a kind; a plan that was given speaks for itself."""
    return KINDS[kind].words if kind in KINDS else "as planned"


def verdict(numbers: dict[str, Any]) -> str:
    """All rounds in a sentence."""
    apart = numbers["max_loss_difference"]
    return (
        f"{numbers['recovered']} of {words.counted(numbers['rounds'], 'round')} recovered: "
        f"{words.counted(numbers['steps_lost'], 'step')} lost, "
        f"{words.counted(numbers['samples_lost'], 'sample')} lost, "
        f"{numbers['samples_repeated']} repeated, losses differ by "
        f"{'nothing that could be compared' if apart is None else f'{apart:g}'}, "
        f"{words.counted(numbers['left_behind'], 'thing')} left behind."
    )


def _spread(took: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(took, [50, 95])
    return {"p50": float(p50), "p95": float(p95), "max": max(took)}


def _one(outcome: Outcome) -> dict[str, Any]:
    numbers = outcome.run.numbers
    return {
        "round": outcome.round.number,
        "kind": outcome.round.kind,
        "plan": outcome.round.what,
        "seed": outcome.round.seed,
        "recovered": outcome.recovered,
        "why": outcome.why,
        "seconds": outcome.seconds,
        "twin_seconds": outcome.twin_seconds,
        "steps": numbers.steps,
        "steps_lost": numbers.steps_lost,
        "samples_lost": numbers.samples_lost,
        "samples_repeated": numbers.samples_repeated,
        "max_loss_difference": outcome.max_loss_difference,
        "left_behind": list(outcome.left_behind),
        "recoveries": [dataclasses.asdict(recovery) for recovery in outcome.run.of(Recovery)],
    }
