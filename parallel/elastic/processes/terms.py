"""The terms of a run on processes: how long things may take, who is told what, how it fails."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from parallel.fabric.faults import Fault

UNKNOWN = 256  # in the place of an exit code


class RunFailed(RuntimeError):
    """The processes have ended without a result, for a `reason` that a node or this one gave."""

    def __init__(self, reason: Any):
        self.reason = reason
        super().__init__(str(reason))


class Process(Protocol):
    """A process of this run, on this machine or another."""

    @property
    def pid(self) -> int | None:
        """Its number on this machine, if it is on this machine."""

    @property
    def exitcode(self) -> int | None:
        """As of `multiprocessing.Process`: negative for a signal, None while it runs; UNKNOWN."""

    def kill(self) -> None:
        """Ends it at once."""

    def join(self, timeout: float | None = None) -> None:
        """Waits for its end."""


class Elsewhere:
    """A process on another machine, where somebody else starts it, as often as it ends.

    It cannot be killed from here: a node that is cut off ends by itself, see `member.take_part`.
    """

    pid: int | None = None
    exitcode: int | None = None

    def kill(self) -> None:
        """See Process."""

    def join(self, timeout: float | None = None) -> None:
        """See Process. Nobody tells of its end."""


class Observer:
    """Is told what happens in a run. This one does nothing about it."""

    def save(self, step: int, whole: Callable[[], Any]) -> None:
        """All nodes offer the state at a step; `whole` brings it into host memory, and raises
        RuntimeError where some part is gone. It must be called in another thread.
        """

    def wait(self) -> None:
        """Waits until all that was offered has been saved."""

    def taken_up(self, step: int) -> None:
        """The run goes on at a step, with nodes that an earlier supervisor has started."""

    def fault(self, fault: Fault) -> None:
        """A fault of the plan has happened."""

    def lost(self, node: int, why: str) -> None:
        """A node was lost; `why` is a sentence."""

    def differed(self, step: int) -> None:
        """Replicas differed in a step, and it cannot be said which of them is wrong."""

    def slow(self, step: int, node: int, times: float) -> None:
        """A node takes so many times as long as the others for what each does alone."""

    def note(self, what: Any) -> None:
        """What a node has to tell; all nodes of a mesh may tell the same."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Seconds that something may take; how often it may fail; how often nodes compare and copy."""

    returns: int = 3  # a node that was lost more often, with no plan to ask for it, stays away
    compare_every: int = 1  # steps, after which replicas compare checksums of what they hold
    copy_every: int = 1  # steps, after which what one node alone holds is copied to a neighbour

    silence: float = 10.0  # of a process that is alive
    orphaned: float = 60.0  # that a node waits for a supervisor to be started again
    come: float = 300.0  # until a process that was started says its first word
    start: float = 300.0  # until one that is there can take part
    first_step: float = 600.0  # of a generation
    slowest: float = 10.0  # times the slowest of the last steps
    end: float = 30.0  # until all have ended after the last step
