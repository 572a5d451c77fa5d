"""A fault plan: which nodes are lost, which come back, and when. Faults are data.

One plan drives tests, simulator, emulation and real processes. Its text form is one phrase for
each fault:

    lose 3 before 5; back 3 before 9; lose 5 during 12; lose 1 saving 14; lose 2 recovering 12
    stop 3 during 5; crash 4 before 7

The verb says how a node fails. All of them cost the run the node, until the plan gives it back:

    lose    it is taken away: killed with SIGKILL, if it is a process. This was asked for
    stop    it hangs (SIGSTOP): nobody hears of it again. Counts as a failure that nobody asked for
    crash   it ends by a fault of its own (SIGSEGV). Counts as one, too
"""

import re
from dataclasses import dataclass

MOMENTS = ("before", "during", "recovering", "saving")  # in the order in which a step comes to them
LOSSES = ("lose", "stop", "crash")
KINDS = (*LOSSES, "back")
PHRASE = re.compile(rf"({'|'.join(KINDS)})\s+(\d+)\s+([a-z]+)\s+(\d+)")


@dataclass(frozen=True)
class Fault:
    """A node is lost, or comes back.

    Moments: before the step starts; during it, so that it has to be done again; recovering, while
    the run still recovers from another fault of that step; saving, while the state after that step
    is being written.
    """

    kind: str  # one of KINDS
    node: int
    step: int
    moment: str = "before"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"a fault plan cannot {self.kind!r} a node: say one of {', '.join(KINDS)}."
            )
        if self.moment not in (MOMENTS if self.loses else MOMENTS[:1]):
            raise ValueError(
                f"'{self}' names no moment of a step: nodes come back before it, "
                f"and are lost {', '.join(MOMENTS[:-1])} or {MOMENTS[-1]}."
            )
        if self.node < 0 or self.step < 0:
            raise ValueError(f"'{self}' is not possible: nodes and steps count from 0.")

    def __str__(self) -> str:
        return f"{self.kind} {self.node} {self.moment} {self.step}"

    @property
    def loses(self) -> bool:
        """Whether it costs the run the node; else it gives the node back."""
        return self.kind in LOSSES

    @property
    def asked(self) -> bool:
        """Whether it is no failure of the node, but the will of those who run the cluster."""
        return self.kind in ("lose", "back")

    @property
    def when(self) -> tuple[int, int]:
        """Faults sort by it: the step, and the place of the moment in it."""
        return self.step, MOMENTS.index(self.moment)

    def after(self, away: frozenset[int]) -> frozenset[int]:
        """The nodes that are away after this fault, of those that were away before it."""
        return away | {self.node} if self.loses else away - {self.node}


@dataclass(frozen=True)
class FaultPlan:
    """Faults in the order in which they happen.

    >>> plan = FaultPlan().lose(node=3, step=5).back(node=3, step=9)
    >>> str(plan)
    'lose 3 before 5; back 3 before 9'
    >>> plan.away(6)
    frozenset({3})
    >>> FaultPlan.parse(str(plan)) == plan
    True
    """

    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(sorted(self.faults, key=lambda fault: fault.when)))

    def lose(self, node: int, step: int, moment: str = "before") -> "FaultPlan":
        return FaultPlan((*self.faults, Fault("lose", node, step, moment)))

    def back(self, node: int, step: int) -> "FaultPlan":
        return FaultPlan((*self.faults, Fault("back", node, step)))

    def at(self, step: int, moment: str = "before") -> tuple[Fault, ...]:
        """The faults of one moment of one step."""
        if moment not in MOMENTS:
            raise ValueError(
                f"{moment!r} is no moment of a step: take one of {', '.join(MOMENTS)}."
            )
        return tuple(fault for fault in self.faults if (fault.step, fault.moment) == (step, moment))

    def away(self, step: int) -> frozenset[int]:
        """The nodes that take no part in step `step` as it finally counts."""
        away: frozenset[int] = frozenset()
        for fault in self.faults:
            if fault.when >= (step, MOMENTS.index("saving")):
                break
            away = fault.after(away)
        return away

    def check(self, num_nodes: int) -> None:
        """Raises ValueError unless this plan can happen, as it is written, to a run of `num_nodes`
        nodes.
        """
        away: frozenset[int] = frozenset()
        for fault in self.faults:
            if fault.node >= num_nodes:
                raise ValueError(
                    f"'{fault}': there is no node {fault.node}, only nodes 0 to {num_nodes - 1}."
                )
            if fault.loses and fault.node in away:
                raise ValueError(
                    f"'{fault}': node {fault.node} is already away; let it come back first."
                )
            if not fault.loses and fault.node not in away:
                raise ValueError(f"'{fault}': node {fault.node} is not away; lose it first.")
            away = fault.after(away)

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """Reads what `str` writes; the empty text is the empty plan."""
        faults = []
        for phrase in text.split(";") if text.strip() else ():
            match = PHRASE.fullmatch(phrase.strip().lower())
            if match is None:
                raise ValueError(
                    f"{phrase.strip()!r} is no part of a fault plan: write 'lose NODE MOMENT STEP' "
                    "(or stop, or crash) or 'back NODE before STEP', as in 'lose 3 before 5'."
                )
            kind, node, moment, step = match.groups()
            faults.append(Fault(kind, int(node), int(step), moment))
        return cls(tuple(faults))
