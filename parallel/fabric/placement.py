"""Placement: which rings the healthy nodes form, and the fewest rings to change when nodes go or
come.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from parallel.fabric.cutting import cut, walk_of
from parallel.fabric.topology import Ints, Nodes, Topology


@dataclass(frozen=True)
class Placement:
    """The rings: every group's nodes in walk order."""

    groups: tuple[Nodes, ...] = ()


def place(topology: Topology, failed: Collection[int], nodes_per_group: int) -> Placement:
    """As many groups as the healthy nodes can form; nodes left over are spread between them.

    >>> from parallel.fabric.topology import KHopRing
    >>> place(KHopRing(num_nodes=9, hops=2), failed={2, 3}, nodes_per_group=3).groups
    ((4, 5, 6), (8, 0, 1))
    """
    return rearrange(Placement(), topology, failed, nodes_per_group)


def rearrange(
    previous: Placement, topology: Topology, failed: Collection[int], nodes_per_group: int
) -> Placement:
    """As many groups as `place` gives, with the fewest rings of `previous` changed.

    Rings that stay keep their place in `groups`; new ones take the places that became free.

    >>> from parallel.fabric.topology import KHopRing
    >>> ring = KHopRing(num_nodes=12, hops=2)
    >>> rearrange(place(ring, (), 3), ring, {4}, 3).groups
    ((0, 1, 2), (6, 7, 8), (9, 10, 11))
    """
    check_group_size(nodes_per_group)
    walk = walk_of(topology, *topology.walk(failed), _ring_of(previous, topology, nodes_per_group))
    found = cut(topology, walk, nodes_per_group)
    stay = set(found.stay.tolist())
    formed = deque(tuple(ring) for ring in found.formed.tolist())
    groups: list[Nodes] = []
    for ring, group in enumerate(previous.groups):
        if ring in stay:
            groups.append(group)
        elif formed:
            groups.append(formed.popleft())
    return Placement((*groups, *formed))


def _ring_of(placement: Placement, topology: Topology, m: int) -> Ints:
    """The ring of every node, -1 for none; rings of another size or with steps beyond reach do not
    count.
    """
    rows = np.array(
        [row for row, group in enumerate(placement.groups) if len(group) == m], np.int64
    )
    rings = np.array([placement.groups[row] for row in rows.tolist()], np.int64).reshape(-1, m)
    steps = np.diff(rings, axis=1) % topology.num_nodes
    in_reach = ((steps >= 1) & (steps <= topology.hops)).all(1)
    exist = ((rings >= 0) & (rings < topology.num_nodes)).all(1)
    sound = in_reach & exist
    ring_of = np.full(topology.num_nodes, -1)
    ring_of[rings[sound]] = rows[sound, None]
    return ring_of


def rings_changed(before: Placement, after: Placement) -> int:
    """Rings that are not as they were: a changed one counts once, as does one that ended or
    began.
    """
    kept = len(set(before.groups) & set(after.groups))
    return max(len(before.groups), len(after.groups)) - kept


def check_group_size(nodes_per_group: int) -> None:
    """Raises unless a ring has nodes."""
    if nodes_per_group < 1:
        raise ValueError(
            f"nodes_per_group={nodes_per_group} is no group: a ring has at least one node."
        )
