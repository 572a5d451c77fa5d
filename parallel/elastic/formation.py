"""Which nodes form which rings: agreed members become a placement, and circuits are switched.

A generation is the n-th mesh of a run. The next one is formed when nodes were lost or have come,
and changes as few rings as it can.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence

import jax
from jax.sharding import Mesh

from parallel.elastic.membership import Members
from parallel.fabric.placement import Placement, place, rearrange
from parallel.fabric.switchboard import Switchboard, Switching
from parallel.fabric.topology import Topology
from parallel.spmd.mesh import REPLICA_AXES, Layout, make_mesh


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
class Formation:
    """The nodes of a generation and the rings that they form."""

    number: int
    members: Members
    placement: Placement
    switching: Switching


@dataclasses.dataclass(frozen=True)
class Generation(Formation):
    """The n-th mesh of a run, and the rings that it lies on."""

    mesh: Mesh


class Rings:
    """Forms the rings of a run, one formation after another."""

    def __init__(self, topology: Topology, layout: Layout, gpus_per_node: int):
        self.topology = topology
        self.layout = layout
        self.gpus_per_node = gpus_per_node
        self._nodes_per_group = layout.nodes_per_group(gpus_per_node)
        self._board = Switchboard(topology, gpus_per_node)

    def form(self, before: Formation | None, members: Members, watch: Stopwatch) -> Formation:
        """The formation of `members` after `before`; the first one if there was none.

        Raises:  NotEnoughNodes.
        """
        failed = frozenset(range(self.topology.num_nodes)) - members.nodes
        if before is None:
            placement = place(self.topology, failed, self._nodes_per_group)
        else:
            placement = rearrange(before.placement, self.topology, failed, self._nodes_per_group)
        if not placement.groups:
            raise NotEnoughNodes(
                f"no ring can be formed of the nodes that are left, {sorted(members.nodes)}: "
                f"tensor={self.layout.tensor} needs {self._nodes_per_group} nodes, each at most "
                f"{self.topology.hops} from the next; repair nodes and start again with the same "
                "command."
            )
        watch.lap("placement")
        switching = self._board.apply(self._board.switch(placement.groups, failed))
        watch.lap("circuits")
        return Formation(before.number + 1 if before else 0, members, placement, switching)

    def mesh(self, formation: Formation, devices: Mapping[int, Sequence[jax.Device]]) -> Generation:
        """The generation whose mesh lies on the rings of `formation`.

        Args:  devices: of every node, by GPU number.
        """
        mesh = make_mesh(self.topology, self._used(formation), self.layout, devices)
        return Generation(**vars(formation), mesh=mesh)

    def nodes(self, formation: Formation) -> tuple[int, ...]:
        """The nodes whose devices are in the mesh; others wait as spares."""
        return tuple(node for group in self._used(formation) for node in group)

    def _used(self, formation: Formation) -> Sequence[Sequence[int]]:
        """Groups that fill the mesh; some may be left over (see `Layout.sizes`)."""
        groups = formation.placement.groups
        per_group = self._rings_per_group()
        sizes = self.layout.sizes(len(groups) * per_group)
        rings = math.prod(sizes[axis] for axis in REPLICA_AXES)
        return groups[: -(-rings // per_group)]

    def _rings_per_group(self) -> int:
        """One, but for tensor = 1, where each GPU of a node is a ring."""
        return max(1, self._nodes_per_group * self.gpus_per_node // self.layout.tensor)

    def shape(self, formation: Formation, fewer: int = 0) -> tuple[int, ...] | None:
        """The shape of the mesh on the rings of `formation`, or on `fewer` groups than it has."""
        groups = len(formation.placement.groups) - fewer
        if groups < 1:
            return None
        return tuple(self.layout.sizes(groups * self._rings_per_group()).values())
