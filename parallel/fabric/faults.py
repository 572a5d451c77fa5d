"""A fault plan: who goes, who comes back, and when. Faults are data.

One plan drives tests, simulator, emulation and real processes. Its text form is one phrase an
event:

    lose 3 before 5; back 3 before 9; lose 5 during 12; lose 1 saving 14; lose 2 recovering 12
"""

import re
from dataclasses import dataclass

MOMENTS = ("before", "during", "recovering", "saving")  # in the order in which a step comes to them
PHRASE = re.compile(r"(lose|back)\s+(\d+)\s+([a-z]+)\s+(\d+)")


@dataclass(frozen=True)
class Event:
    """A node is lost, or comes back.

    Moments: before the step starts; during it, so that it has to be done again; recovering, while
    the run is still busy with another fault of that step; saving, while the state after that step
    is being written.
    """

    kind: str  # "lose" or "back"
    node: int
    step: int
    moment: str = "before"

    def __post_init__(self):
        if self.kind not in ("lose", "back"):
            raise ValueError(f"a fault plan cannot {self.kind!r} a node: say 'lose' or 'back'.")
        if self.moment not in (MOMENTS if self.kind == "lose" else MOMENTS[:1]):
            raise ValueError(
                f"'{self}' names no moment of a step: nodes come back before it, "
                f"and are lost {', '.join(MOMENTS[:-1])} or {MOMENTS[-1]}."
            )
        if self.node < 0 or self.step < 0:
            raise ValueError(f"'{self}' is not possible: nodes and steps count from 0.")

    def __str__(self):
        return f"{self.kind} {self.node} {self.moment} {self.step}"

    @property
    def when(self) -> tuple[int, int]:
        return self.step, MOMENTS.index(self.moment)


@dataclass(frozen=True)
class FaultPlan:
    """Events in the order in which they happen.

    >>> plan = FaultPlan().lose(node=3, step=5).back(node=3, step=9)
    >>> str(plan)
    'lose 3 before 5; back 3 before 9'
    >>> plan.away(6)
    frozenset({3})
    >>> FaultPlan.parse(str(plan)) == plan
    True
    """

    events: tuple[Event, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "events", tuple(sorted(self.events, key=lambda event: event.when)))

    def lose(self, node: int, step: int, moment: str = "before") -> "FaultPlan":
        return FaultPlan((*self.events, Event("lose", node, step, moment)))

    def back(self, node: int, step: int) -> "FaultPlan":
        return FaultPlan((*self.events, Event("back", node, step)))

    def at(self, step: int, moment: str = "before") -> tuple[Event, ...]:
        """The events of one moment of one step."""
        if moment not in MOMENTS:
            raise ValueError(
                f"{moment!r} is no moment of a step: take one of {', '.join(MOMENTS)}."
            )
        return tuple(event for event in self.events if (event.step, event.moment) == (step, moment))

    def away(self, step: int) -> frozenset[int]:
        """The nodes that take no part in step `step` as it finally counts."""
        away: set[int] = set()
        for event in self.events:
            if event.when >= (step, MOMENTS.index("saving")):
                break
            (away.add if event.kind == "lose" else away.discard)(event.node)
        return frozenset(away)

    def check(self, num_nodes: int) -> None:
        """Raises ValueError unless a run of `num_nodes` nodes can live through this plan as it is
        written.
        """
        away: set[int] = set()
        for event in self.events:
            if event.node >= num_nodes:
                raise ValueError(
                    f"'{event}': there is no node {event.node}, only nodes 0 to {num_nodes - 1}."
                )
            if event.kind == "lose" and event.node in away:
                raise ValueError(
                    f"'{event}': node {event.node} is already away; let it come back first."
                )
            if event.kind == "back" and event.node not in away:
                raise ValueError(f"'{event}': node {event.node} is not away; lose it first.")
            (away.add if event.kind == "lose" else away.remove)(event.node)

    def __str__(self):
        return "; ".join(map(str, self.events))

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """Reads what `str` writes; the empty text is the empty plan."""
        events = []
        for phrase in text.split(";") if text.strip() else ():
            match = PHRASE.fullmatch(phrase.strip().lower())
            if match is None:
                raise ValueError(
                    f"{phrase.strip()!r} is not an event of a fault plan: "
                    "write 'lose NODE MOMENT STEP' or 'back NODE before STEP', as in 'lose 3 "
                    "before 5'."
                )
            kind, node, moment, step = match.groups()
            events.append(Event(kind, int(node), int(step), moment))
        return cls(tuple(events))
