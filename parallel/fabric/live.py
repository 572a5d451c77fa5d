"""A placement that follows changes: one node is lost or comes back, and only its own segment is
cut anew.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from parallel.fabric.cutting import cut, walk_of
from parallel.fabric.placement import Placement, check_group_size
from parallel.fabric.topology import Bools, Ints, KHopLine, KHopRing, Nodes, Topology


class Change(NamedTuple):
    """The rings that ended and those that were formed; every other ring is untouched."""

    ended: tuple[Nodes, ...]
    formed: tuple[Nodes, ...]

    @property
    def rings_changed(self) -> int:
        return max(len(self.ended), len(self.formed))


class LivePlacement:
    """As many groups as `place` gives, at any time, with the fewest rings changed from one time to
    the next.

    A change costs O(segment), whatever the size of the fabric.

    >>> from parallel.fabric.topology import KHopLine
    >>> live = LivePlacement(KHopLine(num_nodes=9, hops=2), failed=(), nodes_per_group=2)
    >>> live.lose(1)
    Change(ended=((0, 1), (2, 3)), formed=((0, 2), (3, 4)))
    >>> live.back(1).rings_changed
    0
    """

    def __init__(self, topology: Topology, failed: Collection[int], nodes_per_group: int):
        check_group_size(nodes_per_group)
        self.topology, self.m = topology, nodes_per_group
        self.alive: Bools = np.zeros(topology.num_nodes, bool)
        self.alive[topology.healthy(failed)] = True
        formed = cut(topology, walk_of(topology, *topology.walk(failed)), self.m).formed
        self.rings = np.full((topology.num_nodes // self.m, self.m), -1)
        self.row_of = np.full(topology.num_nodes, -1)  # the ring of each node
        self.free_rows = list(range(len(self.rings)))[::-1]
        self._form(formed)

    def __len__(self) -> int:
        return len(self.rings) - len(self.free_rows)

    def placement(self) -> Placement:
        return Placement(_rings(self.rings[self.rings[:, 0] >= 0]))

    def lose(self, node: int) -> Change:
        self._check(node, alive=True)
        before, behind = self._segment(node)
        self.alive[node] = False
        starts = [0]
        both = before.size and behind.size
        if both and not self.topology.reaches(int(before[-1]), int(behind[0])):
            starts.append(before.size)
        nodes = np.concatenate((before, behind))
        return self._recut(nodes, np.array(starts), broken=int(self.row_of[node]))

    def back(self, node: int) -> Change:
        self._check(node, alive=False)
        before, behind = self._segment(node)
        self.alive[node] = True
        return self._recut(np.concatenate((before, [node], behind)), np.zeros(1, np.int64))

    def _check(self, node: int, alive: bool) -> None:
        if not 0 <= node < self.topology.num_nodes:
            raise ValueError(
                f"there is no node {node}: nodes are 0 to {self.topology.num_nodes - 1}."
            )
        if self.alive[node] != alive:
            raise ValueError(f"node {node} is {'lost' if alive else 'there'} already.")

    def _segment(self, node: int) -> tuple[Ints, Ints]:
        """The nodes before and behind `node` in its segment; all are behind it where that is a
        whole circle.
        """
        behind = self._scan(node, 1)
        circle = isinstance(self.topology, KHopRing) and behind.size
        if circle and self.topology.num_nodes - behind[-1] <= self.topology.hops:
            before = np.empty(0, np.int64)
        else:
            before = self._scan(node, -1)[::-1]
        return (node - before) % self.topology.num_nodes, (node + behind) % self.topology.num_nodes

    def _scan(self, node: int, sign: int) -> Ints:
        """How far from `node` each healthy node is, one way, up to the first break."""
        room = self.topology.num_nodes - 1
        if isinstance(self.topology, KHopLine):
            room = room - node if sign > 0 else node
        window = 64
        while True:
            window = min(window, room)
            places = node + sign * np.arange(1, window + 1)
            steps = np.flatnonzero(self.alive.take(places, mode="wrap")) + 1
            breaks = np.flatnonzero(
                np.diff(steps, prepend=0, append=window + 1) > self.topology.hops
            )
            if breaks.size or window == room:
                return steps[: breaks[0]] if breaks.size else steps
            window *= 4

    def _recut(self, nodes: Ints, starts: Ints, broken: int = -1) -> Change:
        """Cuts a segment anew around the rings that it can keep; `broken` is the ring that lost a
        node, or -1.
        """
        walk = walk_of(self.topology, nodes, starts, self.row_of)
        stay, formed = cut(self.topology, walk, self.m)
        present = np.append(walk.rings, broken)
        ended = np.setdiff1d(present[present >= 0], stay)
        change = Change(_rings(self.rings[ended]), _rings(formed))
        self.row_of[self.rings[ended]] = -1
        self.rings[ended] = -1
        self.free_rows.extend(ended.tolist())
        self._form(formed)
        return change

    def _form(self, rings: Ints) -> None:
        rows = [self.free_rows.pop() for _ in rings]
        self.rings[rows] = rings
        self.row_of[rings] = np.array(rows, np.int64)[:, None]


def _rings(rows: Ints) -> tuple[Nodes, ...]:
    """[rings, m] as tuples."""
    return tuple(tuple(row) for row in rows.tolist())
