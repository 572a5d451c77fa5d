"""The fault matrix: every kind of misfortune, and how a round of it is drawn.

A round is drawn from numpy's generator of (seed, number of the round), so the same command plays
the same rounds. A further kind is a function from a `Ground` and a generator to a plan, and a line
in KINDS.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from parallel.elastic.formation import NotEnoughNodes, Rings, Stopwatch
from parallel.elastic.membership import Members
from parallel.elastic.processes import Limits
from parallel.fabric.faults import LOSSES, Fault, FaultPlan
from parallel.fabric.topology import Topology
from parallel.spmd.mesh import Layout

TRIES = 1000  # plans that are drawn until one can be played
MOST_SEEDS = 2**32


@dataclasses.dataclass(frozen=True)
class Ground:
    """What a plan is played on: nodes that form rings, for some steps."""

    topology: Topology
    layout: Layout
    gpus_per_node: int
    steps: int
    save_every: int  # steps

    @property
    def saved(self) -> list[int]:
        """The steps after which the state is saved."""
        return sorted({*range(self.save_every - 1, self.steps, self.save_every), self.steps - 1})

    def shapes(self, plan: FaultPlan) -> set[tuple[int, ...]] | None:
        """The shapes of all meshes that a run through `plan` has; None if it cannot be played: it
        leaves no ring, or takes a spare at a moment when the supervisor does not.
        """
        rings = Rings(self.topology, self.layout, self.gpus_per_node)
        everyone = frozenset(range(self.topology.num_nodes))
        away: frozenset[int] = frozenset()
        formation = rings.form(None, Members(everyone, 0, {}), Stopwatch())
        shapes, spares = {rings.shape(formation)}, list[Fault]()
        for _, alike in itertools.groupby(plan.faults, key=lambda fault: fault.when):
            faults, used = list(alike), rings.nodes(formation)
            for fault in faults:
                if fault.loses and fault.node not in used:
                    if not _takes_spare(fault, plan, spares):
                        return None
                    spares.append(fault)
                away = fault.after(away)
            try:
                formation = rings.form(formation, Members(everyone - away, 0, {}), Stopwatch())
            except NotEnoughNodes:
                return None
            shapes.add(rings.shape(formation))
        return {shape for shape in shapes if shape is not None}


def _takes_spare(fault: Fault, plan: FaultPlan, spares: Sequence[Fault]) -> bool:
    """Whether the supervisor takes a spare as `fault` says: before a step after which no other mesh
    is formed, neither because a node comes back, nor because `spares` were taken just before.
    """
    news = any(other.step == fault.step and not other.loses for other in plan.faults)
    late = any(s.node != fault.node and fault.step - s.step <= 2 for s in spares)
    return fault.moment == "before" and fault.step > 0 and not (news or late)


Draw = Callable[[Ground, np.random.Generator], FaultPlan]


class Kind(NamedTuple):
    """A misfortune in words, and how a plan of it is drawn; the plan may turn out impossible."""

    words: str
    draw: Draw


class Round(NamedTuple):
    """What is to be played: a plan, by a run that has a seed of its own."""

    number: int
    kind: str
    plan: FaultPlan
    seed: int  # of the run: the order of its data, its initial state


def drawn(ground: Ground, seed: int, number: int) -> Round:
    """Round `number` of a drill. Each kind comes once before any comes again.

    Raises: ValueError, if no plan of its kind can be played on `ground`.
    """
    cycle, place = divmod(number, len(KINDS))
    order = np.random.default_rng([seed, cycle, len(KINDS)]).permutation(list(KINDS))
    kind, rng = str(order[place]), np.random.default_rng([seed, number])
    for _ in range(TRIES):
        plan = KINDS[kind].draw(ground, rng)
        if ground.shapes(plan) is not None:
            return Round(number, kind, plan, int(rng.integers(MOST_SEEDS)))
    raise ValueError(
        f"{ground.topology.num_nodes} nodes and {ground.steps} steps leave no room for a round "
        f"where {KINDS[kind].words}: use more of them."
    )


def _one(verb: str, *moments: str) -> Draw:
    """A node fails, at one of these moments of some step."""

    def draw(ground: Ground, rng: np.random.Generator) -> FaultPlan:
        return FaultPlan((_loss(ground, rng, verb, moments),))

    return draw


def _recovering(ground: Ground, rng: np.random.Generator) -> FaultPlan:
    first = _loss(ground, rng, "lose", ("before", "during"))
    return FaultPlan((first,)).lose(_other(ground, rng, first), first.step, "recovering")


def _two(ground: Ground, rng: np.random.Generator) -> FaultPlan:
    first = _loss(ground, rng, str(rng.choice(LOSSES)), ("before", "during"))
    verb = str(rng.choice(LOSSES))
    second = Fault(verb, _other(ground, rng, first), first.step, first.moment)
    return FaultPlan((first, second))


def _rejoin(ground: Ground, rng: np.random.Generator) -> FaultPlan:
    loss = _loss(ground, rng, "lose", ("before", "during", "saving"))
    back = int(rng.integers(loss.step, ground.steps)) + 1
    if back == ground.steps:  # no step is left to come back for
        return _rejoin(ground, rng)
    return FaultPlan((loss,)).back(loss.node, back)


def _flapping(ground: Ground, rng: np.random.Generator) -> FaultPlan:
    """The last crash is one too many: the node stays away."""
    returns = Limits().returns
    room = ground.steps - 2 * returns
    node = int(rng.integers(ground.topology.num_nodes))
    first = int(rng.integers(max(1, room)))
    crashes = range(first, first + 2 * returns + 1, 2)
    plan = FaultPlan(tuple(Fault("crash", node, step) for step in crashes))
    for step in crashes[:-1]:
        plan = plan.back(node, step + 1)
    return plan


def _loss(ground: Ground, rng: np.random.Generator, verb: str, moments: tuple[str, ...]) -> Fault:
    node, moment = int(rng.integers(ground.topology.num_nodes)), str(rng.choice(moments))
    steps = ground.saved if moment == "saving" else range(ground.steps)
    return Fault(verb, node, int(rng.choice(steps)), moment)


def _other(ground: Ground, rng: np.random.Generator, fault: Fault) -> int:
    """A node that is not that of `fault`."""
    further = int(rng.integers(1, ground.topology.num_nodes))
    return (fault.node + further) % ground.topology.num_nodes


KINDS = {
    "before": Kind("a node is killed before a step", _one("lose", "before")),
    "during": Kind("a node is killed during a step", _one("lose", "during")),
    "saving": Kind("a node is killed while the state is saved", _one("lose", "saving")),
    "recovering": Kind("a node is killed while the run recovers from another", _recovering),
    "stop": Kind("a node hangs", _one("stop", "before", "during", "saving")),
    "crash": Kind("a node crashes", _one("crash", "before", "during", "saving")),
    "two": Kind("two nodes fail at once", _two),
    "rejoin": Kind("a node is lost and given back", _rejoin),
    "flapping": Kind("a node crashes until it is not started again", _flapping),
}
