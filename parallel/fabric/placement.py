"""Placement: which rings the healthy nodes form, and the fewest rings to change when nodes go or come."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from parallel.fabric.cutting import cut, walk_of
from parallel.fabric.topology import Topology


@dataclass(frozen=True)
class Placement:
    """The rings: every group's nodes in walk order."""

    groups: tuple[tuple[int, ...], ...] = ()


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
    if nodes_per_group < 1:
        raise ValueError(f"nodes_per_group={nodes_per_group} is no group: a ring has at least one node.")
    rows = [row for row, group in enumerate(previous.groups) if len(group) == nodes_per_group]
    rings = np.array([previous.groups[row] for row in rows], np.int64).reshape(-1, nodes_per_group)
    stay, formed = cut(topology, walk_of(topology, *topology.walk(failed)), nodes_per_group, rings)
    fresh = map(tuple, formed.tolist())
    stay = {rows[row] for row in stay.tolist()}
    kept = (group if row in stay else next(fresh, None) for row, group in enumerate(previous.groups))
    return Placement((*(group for group in kept if group is not None), *fresh))


def rings_changed(before: Placement, after: Placement) -> int:
    """Rings that are not as they were: a changed one counts once, as does one that ended or began."""
    kept = len(set(before.groups) & set(after.groups))
    return max(len(before.groups), len(after.groups)) - kept
