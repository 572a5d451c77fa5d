"""What a run asks of the nodes it computes on; emulated nodes and real processes answer alike.

A run drives a `Cluster` from one process that has all nodes (`emulated`), or from one process on
each node (`processes`). Every process makes the same calls in the same order.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
from jax.sharding import Mesh

from parallel.elastic.formation import Generation, Stopwatch

Lower = Callable[[Mesh], jax.stages.Lowered]  # a function lowered for a mesh


class NodeFailure(RuntimeError):
    """A computation failed because a node that takes part was lost; the error cannot say which."""

    def __init__(self, step: int):
        super().__init__(
            f"step {step} failed: a node that takes part was lost; ask the membership which."
        )


class Rebuilt(NamedTuple):
    """The state on the mesh of a generation."""

    step: int  # how many steps it has behind it
    tree: Any
    source: str  # where the parts of lost nodes came from: "replica", "neighbour", "checkpoint"


GoBack = Callable[[], tuple[int, Any]]  # steps done and state, in host memory, of a last resort


class Program(Protocol):
    """One function of a mesh, compiled once for every shape of a mesh."""

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """Whether a mesh of this shape needs no compiling here."""

    def prepare(self, shape: tuple[int, ...]) -> Any:
        """Compiles for a mesh shape."""

    def on(self, mesh: Mesh) -> Callable[..., Any]:
        """The function, ready to run on the devices of `mesh`."""


class Cluster(Protocol):
    """Nodes that compute together and may be lost."""

    def program(self, name: str, lower: Lower) -> Program:
        """A function that will run on the meshes of this cluster."""

    def changed(self, now: Generation) -> bool:
        """Whether nodes were lost or have come since `now` was formed."""

    def next(self, now: Generation | None, after_failure: bool, watch: Stopwatch) -> Generation:
        """The generation after `now`, with the seconds of each phase in `watch`.

        Args:    after_failure: a step has failed, so a node was lost: wait until it is known which.
        Raises:  NotEnoughNodes; TimeoutError if a step failed although no node was lost.
        """

    def hold(self, step: int, tree: Any, generation: Generation) -> None:
        """Takes note of the state: it has `step` steps behind it. All that is needed to keep it
        alive is done here.
        """

    def rebuild(self, generation: Generation, shardings: Any, go_back: GoBack) -> Rebuilt:
        """Lays the state that was held last out on the mesh of `generation`.

        Args:    shardings: of the state's tree.
                 go_back: what to take if no live node holds some part.
        """

    def whole(self) -> Any:
        """The state that was held last, in host memory; None in a process that need not save it,
        or if no live node holds some part.
        """

    def run(self, fn: Callable[..., Any], *args: Any, step: int) -> Any:
        """Calls `fn(*args)` as a step of all nodes of the mesh.

        Raises: NodeFailure if one of these nodes is lost, or gets lost meanwhile.
        """

    def commit(self, step: int, change: Any = None) -> None:
        """Returns once all nodes of the mesh have done what communicates in step `step`; from then
        on it counts.

        Args:   change: what the state will be changed by: arrays that replicas hold alike. Where
                  nodes can be wrong, they compare it and the state.
        Raises: NodeFailure if one of them has not, and will not.
        """

    def progress(self, step: int, moment: str) -> None:
        """Tells that the run has come to a moment of a step (see `parallel.fabric.faults`)."""
