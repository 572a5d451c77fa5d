"""Outcomes of rounds that nobody has played."""

import dataclasses

from parallel.fabric.faults import FaultPlan
from stepjax.drill.matrix import Round
from stepjax.drill.rounds import Outcome
from stepjax.report.story import Story
from stepjax.train import events
from stepjax.train.summary import counts


def step(n: int, loss: float = 1.0) -> events.StepLine:
    return events.StepLine(n, loss, None, None, 1.0, 10, 0.5, 20.0, 8, 0, 1e-3, "ab")


def recovery(n: int, **phases: float) -> events.Recovery:
    took = sum(phases.values())
    return events.Recovery(n, 1, (1,), (), phases, took, "replica", 0, time=100.0 + n)


def story(steps=(), plan: str = "", recoveries=(), heldout=None, samples_lost: int = 0) -> Story:
    """A run that has done what it was told."""
    mesh = events.Generation(0, 0, (0, 1), (), ((0, 1),), {}, 4, 0, 0.0, time=100.0)
    happened = [
        events.Injected(fault.step, str(fault), time=100.5)
        for fault in FaultPlan.parse(plan).faults
    ]
    found = [mesh, *happened, *recoveries]
    steps = list(steps)
    numbers = dataclasses.replace(
        counts(steps, found), samples_lost=samples_lost, samples_repeated=0
    )
    return Story("run", steps, found, numbers, {"heldout": heldout}, {}, [])


def outcome(number: int, kind: str = "during", why: str = "", left=(), **told) -> Outcome:
    plan = "lose 1 during 2"
    run = story(map(step, range(4)), plan, **told)
    round = Round(number, kind, FaultPlan.parse(plan), seed=number)
    return Outcome(round, why, 20.0, 5.0, None if why else 0.0, left, run)
