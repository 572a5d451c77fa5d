"""The mesh after a fault: agree on the members, then placement, circuits, mesh.

A generation is the n-th mesh of a run. The supervisor forms the first one and, whenever nodes are
lost or come back, the next one, and changes as few rings as it can. Programs and state belong to
the trainer.
"""

import dataclasses
import time
from collections.abc import Callable

from jax.sharding import Mesh

from parallel.elastic.inject import EmulatedCluster
from parallel.elastic.membership import Members
from parallel.fabric.placement import Placement, place, rearrange
from parallel.fabric.switchboard import Switchboard, Switching
from parallel.fabric.topology import Topology
from parallel.spmd.mesh import Layout, make_mesh


class NotEnoughNodes(RuntimeError):
    """The nodes that are left cannot form a ring."""


class Stopwatch:
    """Seconds of one phase after another.

    >>> watch = Stopwatch(clock=iter([0.0, 1.0, 1.5]).__next__)
    >>> watch.lap("notice"); watch.lap("placement"); watch.phases
    {'notice': 1.0, 'placement': 0.5}
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._last = clock()
        self.phases: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Ends `phase`, which began with the end of the one before."""
        now = self._clock()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now


@dataclasses.dataclass(frozen=True)
class Generation:
    """The n-th mesh of a run, and the rings that it lies on."""

    number: int
    members: Members
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
        self.cluster = cluster
        self.topology = topology
        self.layout = layout
        self.limit_s = limit_s
        self.nodes_per_group = layout.nodes_per_group(gpus_per_node)
        self.board = Switchboard(topology, gpus_per_node)

    def first(self) -> Generation:
        """The mesh that a run starts on."""
        members = self.cluster.membership.members()
        placement = place(self.topology, self._failed(members), self.nodes_per_group)
        return self._form(0, members, placement, Stopwatch())

    def next(self, now: Generation, after_failure: bool, watch: Stopwatch) -> Generation:
        """The mesh after `now`, with the seconds of each phase in `watch`.

        Args:    after_failure: a step has failed, so a node was lost: wait for the membership.
        Raises:  NotEnoughNodes; TimeoutError if a step failed although no node was lost.
        """
        members = self.cluster.membership.members()
        if after_failure and members.epoch == now.members.epoch:
            members = self.cluster.membership.wait_until_changed(now.members, self.limit_s)
        watch.lap("notice")
        failed = self._failed(members)
        placement = rearrange(now.placement, self.topology, failed, self.nodes_per_group)
        return self._form(now.number + 1, members, placement, watch)

    def _failed(self, members: Members) -> frozenset[int]:
        """The nodes that a placement must leave out."""
        return frozenset(range(self.topology.num_nodes)) - members.nodes

    def _form(
        self, number: int, members: Members, placement: Placement, watch: Stopwatch
    ) -> Generation:
        if not placement.groups:
            raise NotEnoughNodes(
                f"no ring can be formed of the nodes that are left, {sorted(members.nodes)}: "
                f"tensor={self.layout.tensor} needs {self.nodes_per_group} nodes, each at most "
                f"{self.topology.hops} from the next; repair nodes and start again with the same "
                "command."
            )
        watch.lap("placement")
        switching = self.board.apply(self.board.switch(placement.groups, self._failed(members)))
        watch.lap("circuits")
        mesh = make_mesh(self.topology, placement.groups, self.layout, self.cluster.devices)
        watch.lap("mesh")
        return Generation(number, members, placement, switching, mesh)
