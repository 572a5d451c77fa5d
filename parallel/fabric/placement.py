"""Placement: which rings the healthy nodes form, and the fewest rings to change when nodes go or come.

    m  nodes of a group      segment  healthy nodes that still reach each other

A segment of c nodes holds floor(c / m) groups, cut from its start one after the other; no placement can hold
more.  One thing can get in the way: with an odd K > 1 a node whose two neighbours both lie exactly K away
would need its last bundle twice (`KHopRing.port`).  Such a `pivot` can only end a ring.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from parallel.fabric.topology import KHopRing, Topology


@dataclass(frozen=True)
class Placement:
    """The rings: every group's nodes in walk order."""

    groups: tuple[tuple[int, ...], ...] = ()


def place(topology: Topology, failed: Collection[int], nodes_per_group: int) -> Placement:
    """The largest number of groups that the healthy nodes can form.

    >>> place(KHopRing(num_nodes=9, hops=2), failed={2, 3}, nodes_per_group=3).groups
    ((4, 5, 6), (7, 8, 0))
    """
    check_group_size(nodes_per_group)
    nodes, starts = topology.walk(failed)
    if not nodes.size:
        return Placement()
    best = max(
        (blocks(*cut_at_pivots(topology, *walk, nodes_per_group), nodes_per_group)
         for walk in rotations(topology, nodes, starts)),
        key=len,
    )
    return Placement(tuple(map(tuple, best.tolist())))


def check_group_size(nodes_per_group: int) -> None:
    if nodes_per_group < 1:
        raise ValueError(f"nodes_per_group={nodes_per_group} is no group: a ring has at least one node.")


def blocks(nodes: np.ndarray, starts: np.ndarray, m: int) -> np.ndarray:
    """[groups, m]: every piece of the walk, cut into blocks of m from its start."""
    lengths = np.diff(starts, append=nodes.size)
    offset = np.arange(nodes.size) - np.repeat(starts, lengths)
    return nodes[offset < np.repeat(lengths // m * m, lengths)].reshape(-1, m)


def pivots(topology: Topology, nodes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Positions of the nodes that can only end a ring, as both their neighbours are K away on one bundle."""
    if not topology.shares_last_bundle or nodes.size < 3:
        return np.empty(0, np.int64)
    full = np.diff(nodes) % topology.num_nodes == topology.hops
    full[starts[1:] - 1] = False
    return np.flatnonzero(full[:-1] & full[1:]) + 1


def cut_at_pivots(topology, nodes: np.ndarray, starts: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The walk with its pieces cut before or after each pivot: after it where that completes a group."""
    cuts = starts.tolist()
    for pivot in pivots(topology, nodes, starts).tolist():
        start = max(cut for cut in cuts if cut <= pivot)
        cuts.append(pivot + 1 if (pivot - start) % m == m - 1 else pivot)
    return nodes, np.unique(cuts)


def rotations(topology: Topology, nodes: np.ndarray, starts: np.ndarray):
    """The walks to try: one, or two for an unbroken circle with a pivot, which may end the walk or begin it."""
    closed = isinstance(topology, KHopRing) and starts.size == 1 and nodes.size > 2
    if closed and (nodes[0] - nodes[-1]) % topology.num_nodes <= topology.hops:
        around = np.append(nodes, nodes[:2])
        found = pivots(topology, around, starts)
        if found.size:
            return [(np.roll(nodes, -cut), starts) for cut in (found[0], found[0] + 1)]
    return [(nodes, starts)]


def rearrange(previous: Placement, topology, failed, nodes_per_group: int) -> Placement:
    """As many groups as `place` gives, with the fewest rings of `previous` changed."""
    fresh = place(topology, failed, nodes_per_group)
    return fresh if rings_changed(previous, fresh) else previous


def rings_changed(before: Placement, after: Placement) -> int:
    """Rings that are not as they were: a changed one counts once, as does one that ended or began."""
    kept = len(set(before.groups) & set(after.groups))
    return max(len(before.groups), len(after.groups)) - kept
