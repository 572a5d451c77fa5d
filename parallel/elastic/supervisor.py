"""The way of a fault: agree on who is there, then placement, circuits, mesh.

A generation is the n-th mesh of a run. The supervisor forms the first one and, whenever nodes go or
come, the next, changing as few rings as it can. What it needs of the trainer (programs, state)
stays with the trainer.
"""

import dataclasses
import time

from jax.sharding import Mesh

from parallel.elastic.inject import EmulatedCluster
from parallel.elastic.membership import Alive
from parallel.fabric.placement import Placement, place, rearrange
from parallel.fabric.topology import Topology
from parallel.fabric.transceiver import Switchboard, Switching
from parallel.spmd.mesh import Layout, make_mesh


class NotEnoughNodes(RuntimeError):
    """No ring can be formed of the nodes that are left."""


class Stopwatch:
    """Seconds of one phase after another.

    >>> watch = Stopwatch(clock=iter([0.0, 1.0, 1.5]).__next__)
    >>> watch.lap("notice"); watch.lap("placement"); watch.phases
    {'notice': 1.0, 'placement': 0.5}
    """

    def __init__(self, clock=time.perf_counter):
        self._clock, self._last = clock, clock()
        self.phases: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        now = self._clock()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now


@dataclasses.dataclass(frozen=True)
class Generation:
    """The n-th mesh of a run, and the rings that it lies on."""

    number: int
    alive: Alive
    placement: Placement
    switching: Switching
    mesh: Mesh


class Supervisor:
    """Forms the meshes of a run.

    Args:  limit_s: how long to wait for the membership after a step failed.
    """

    def __init__(
        self,
        cluster: EmulatedCluster,
        topology: Topology,
        layout: Layout,
        gpus_per_node: int,
        limit_s: float = 10.0,
    ):
        self.cluster, self.topology, self.layout, self.limit_s = cluster, topology, layout, limit_s
        self.nodes_per_group = layout.nodes_per_group(gpus_per_node)
        self.board = Switchboard(topology, gpus_per_node)

    def first(self) -> Generation:
        """The mesh that a run starts on."""
        alive = self.cluster.membership.alive()
        placement = place(self.topology, self._failed(alive), self.nodes_per_group)
        return self._form(0, alive, placement, Stopwatch())

    def next(self, now: Generation, failed: bool, watch: Stopwatch) -> Generation:
        """The mesh after `now`, with the seconds of each phase in `watch`.

        Args:    failed: a step has failed, so someone must be gone: wait until the membership says who.
        Raises:  NotEnoughNodes; TimeoutError if nobody turns out to be gone.
        """
        alive = self.cluster.membership.alive()
        if failed and alive.epoch == now.alive.epoch:
            alive = self.cluster.membership.wait_until_changed(now.alive, self.limit_s)
        watch.lap("notice")
        placement = rearrange(
            now.placement, self.topology, self._failed(alive), self.nodes_per_group
        )
        return self._form(now.number + 1, alive, placement, watch)

    def _failed(self, alive: Alive) -> frozenset[int]:
        return frozenset(range(self.topology.num_nodes)) - alive

    def _form(
        self, number: int, alive: Alive, placement: Placement, watch: Stopwatch
    ) -> Generation:
        if not placement.groups:
            raise NotEnoughNodes(
                f"no ring can be formed of the nodes that are left, {sorted(alive)}: "
                f"tensor={self.layout.tensor} "
                f"needs {self.nodes_per_group} nodes, each at most {self.topology.hops} from the "
                "next; "
                "repair nodes and start again with the same command."
            )
        watch.lap("placement")
        switching = self.board.apply(self.board.switch(placement.groups, self._failed(alive)))
        watch.lap("circuits")
        mesh = make_mesh(self.topology, placement.groups, self.layout, self.cluster.devices)
        watch.lap("mesh")
        return Generation(number, alive, placement, switching, mesh)
