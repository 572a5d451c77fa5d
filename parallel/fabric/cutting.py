"""Cutting a walk of healthy nodes into groups, anew or around rings that may stay.

    m  nodes of a group     c  nodes of a piece of the walk     w = c mod m  nodes that are left over

A piece holds floor(c / m) groups wherever its w spare nodes lie. Let a ring begin at place P of
its piece and call P mod m its phase: so many nodes before it are spare once the room between
staying rings is filled with groups. Spare nodes only add up along the walk. So rings can stay
together exactly if their phases never fall and never exceed w, and the most rings that can stay are
the longest such chain.

One more thing bounds a piece. With an odd K > 1 the distances +K and -K hang on one bundle
(`port`), and a node whose two neighbours in the walk are both K away can open it towards one of
them only. Such a pivot ends a
ring: the walk is cut before or after it.
"""

from typing import NamedTuple

import numpy as np

from parallel.fabric.topology import KHopRing, Topology


class Walk(NamedTuple):
    """Healthy nodes in walk order, the places where its pieces start, and the ring of each node; -1
    for none.

    The end of a closed walk reaches its start.
    """

    nodes: np.ndarray
    starts: np.ndarray
    rings: np.ndarray
    closed: bool = False


class Staying(NamedTuple):
    """Rings that could stay, in walk order, with their first and their last place."""

    ring: np.ndarray
    first: np.ndarray
    last: np.ndarray


class Cut(NamedTuple):
    """The rings that stay, and the groups formed around them, [groups, m]."""

    stay: np.ndarray
    formed: np.ndarray

    @property
    def worth(self) -> tuple[int, int]:
        """More groups come first, then more rings that stay."""
        return len(self.formed) + len(self.stay), len(self.stay)


def walk_of(
    topology: Topology, nodes: np.ndarray, starts: np.ndarray, ring_of: np.ndarray | None = None
) -> Walk:
    """A walk through `nodes`; `ring_of` tells the present ring of every node of the fabric."""
    rings = np.full(nodes.size, -1) if ring_of is None else ring_of[nodes]
    closed = isinstance(topology, KHopRing) and starts.size == 1 and nodes.size > 1
    return Walk(
        nodes,
        starts,
        rings,
        bool(closed and (nodes[0] - nodes[-1]) % topology.num_nodes <= topology.hops),
    )


def cut(topology: Topology, walk: Walk, m: int) -> Cut:
    """The most groups of m nodes, and of all ways to form so many one in which the most rings
    stay.
    """
    cuts = [_cut_open(topology, turned, m) for turned in _turns(topology, walk, m)]
    return max(cuts, key=lambda cut: cut.worth)


def first_fit(topology: Topology, walk: Walk, m: int) -> np.ndarray:
    """[groups, m]: the most groups of m nodes, each as early in its piece as can be."""
    found = []
    for turned in _turns(topology, walk, m):
        starts = pieces(topology, turned, m)
        lengths = np.diff(starts, append=walk.nodes.size)
        offset = np.arange(walk.nodes.size) - np.repeat(starts, lengths)
        found.append(turned.nodes[offset < np.repeat(lengths // m * m, lengths)].reshape(-1, m))
    return max(found, key=len)


def _cut_open(topology: Topology, walk: Walk, m: int) -> Cut:
    could = _could_stay(walk, m)
    starts = pieces(topology, walk, m)
    chosen = _choose(starts, walk.nodes.size, m, could)
    ring, first, last = (column[chosen] for column in could)
    edge = np.zeros(walk.nodes.size + 1, np.int8)
    edge[first] += 1
    edge[last + 1] -= 1
    free = np.flatnonzero(np.cumsum(edge[:-1], dtype=np.int8) == 0)
    rooms = np.searchsorted(
        free, np.concatenate((starts, last + 1))
    )  # where the free nodes of a room start
    return Cut(ring, walk.nodes[free[_blocks(free.size, np.unique(rooms[rooms < free.size]), m)]])


def _blocks(count: int, starts: np.ndarray, m: int) -> np.ndarray:
    """[groups, m] of range(count): every piece is cut into groups, with its spare nodes spread
    between them.

    So a ring that loses a node finds a spare one near, and few rings move up to make room.
    """
    lengths = np.diff(starts, append=count)
    groups, spare = lengths // m, lengths % m
    piece = np.repeat(np.arange(starts.size), groups)
    j = np.arange(piece.size) - np.repeat(np.cumsum(groups) - groups, groups)
    spare_before = -(
        (groups[piece] - (2 * j + 1) * spare[piece]) // (2 * groups[piece])
    )  # a ceiling
    return (starts[piece] + j * m + spare_before)[:, None] + np.arange(m)


def pivots(topology: Topology, walk: Walk) -> np.ndarray:
    """Places of the nodes that can only end a ring."""
    if not topology.shares_last_bundle or walk.nodes.size < 3:
        return np.empty(0, np.int64)
    full = (
        np.diff(walk.nodes, append=walk.nodes[0]) % topology.num_nodes == topology.hops
    )  # the step behind
    full[walk.starts[1:] - 1] = False
    full[-1] &= walk.closed
    return np.flatnonzero(full & np.roll(full, 1))


def _turns(topology: Topology, walk: Walk, m: int) -> list[Walk]:
    """The open walks to try.

    A closed walk may be opened anywhere: at a pivot, which then ends the walk or begins it; else
    before a ring that stays, and of rings one after the other with equal phase only the first needs
    a try.
    """
    if not walk.closed:
        return [walk]
    places = pivots(topology, walk)[:1]
    if places.size:
        return [_turn(walk, place) for place in (places[0], places[0] + 1)]
    walk = _turn(walk, _ring_start(walk))
    first = _could_stay(walk, m).first
    fresh = first[(first - np.roll(first, 1)) % walk.nodes.size % m != 0]
    return [_turn(walk, place) for place in (fresh if fresh.size else first[:1])] or [
        _turn(walk, 0)
    ]


def _turn(walk: Walk, place: int) -> Walk:
    """The closed walk, opened before `place`."""
    return Walk(np.roll(walk.nodes, -place), walk.starts, np.roll(walk.rings, -place))


def _ring_start(walk: Walk) -> int:
    """A place of a closed walk where a ring starts, or 0: opened there, no ring lies across the
    end.
    """
    places = np.flatnonzero(walk.rings >= 0)
    if not places.size:
        return 0
    new_ring = walk.rings[places] != walk.rings[np.roll(places, 1)]
    room_before = (places - np.roll(places, 1)) % walk.nodes.size  # tells where a lone ring starts
    return places[np.argmax(new_ring if new_ring.any() else room_before)]


def _could_stay(walk: Walk, m: int) -> Staying:
    """Rings that still have all their nodes, with no node of another ring between them."""
    places = np.flatnonzero(walk.rings >= 0)
    ring = walk.rings[places]
    run = np.flatnonzero(np.diff(ring, prepend=-1))
    run = run[np.diff(run, append=ring.size) == m]
    return Staying(ring[run], places[run], places[run + m - 1])


def pieces(topology: Topology, walk: Walk, m: int) -> np.ndarray:
    """Where the pieces of an open walk start, once every pivot has gone to the piece before it or
    behind it.

    Exact: from one pivot to the next only the place of the cut matters, so two choices are carried
      along.
    """
    could = _could_stay(walk, m)

    def close(groups: int, stay: int, cuts: list[int], end: int) -> tuple[int, int, list[int]]:
        """A choice so far with the worth of the piece from its last cut to `end`."""
        inside = slice(*np.searchsorted(could.first, (cuts[-1], end)))
        part = Staying(*(column[inside] for column in could))
        stays = _choose(np.array(cuts[-1:]), end, m, part).sum()
        return groups + (end - cuts[-1]) // m, stay + int(stays), cuts

    def best(choices: list, end: int) -> tuple[int, int, list[int]]:
        return max((close(*choice, end) for choice in choices), key=lambda choice: choice[:2])

    places = pivots(topology, walk)
    starts = walk.starts.tolist()
    ends = np.append(walk.starts[1:], walk.nodes.size).tolist()
    for segment in np.unique(np.searchsorted(walk.starts, places, side="right") - 1).tolist():
        start, end = starts[segment], ends[segment]
        choices = [(0, 0, [start])]
        for pivot in places[(start <= places) & (places < end)].tolist():
            before_or_after = ((best(choices, at), at) for at in (pivot, pivot + 1))
            choices = [(groups, stay, [*cuts, at]) for (groups, stay, cuts), at in before_or_after]
        starts += best(choices, end)[2][1:]
    return np.unique(np.array(starts, np.int64))


def _choose(starts: np.ndarray, end: int, m: int, could: Staying) -> np.ndarray:
    """Which rings stay in the pieces that begin at `starts`, the last of which ends at `end`."""
    piece = np.searchsorted(starts, could.first, side="right") - 1
    lengths = np.diff(starts, append=end)
    enter = (could.first - starts[piece]) % m
    leave = enter + could.last - could.first + 1 - m  # a ring may have spare nodes inside
    spare = (lengths % m)[piece]
    fits = (leave <= spare) & (could.last < (starts + lengths)[piece])
    falls = np.append(False, (piece[1:] == piece[:-1]) & (enter[1:] < leave[:-1]))[: piece.size]
    for rough in np.unique(piece[falls | ~fits]).tolist():
        part = np.flatnonzero((piece == rough) & fits)
        fits[part] = _longest_chain(enter[part], leave[part], int(lengths[rough] % m))
    return fits


def _longest_chain(enter: np.ndarray, leave: np.ndarray, spare: int) -> np.ndarray:
    """The most rings in walk order of which each enters with at least the phase that the one before
    it left.
    """
    holes = leave != enter
    fresh = (np.diff(enter, prepend=-1) != 0) | holes | np.append(True, holes)[: holes.size]
    runs = np.flatnonzero(fresh)
    best = [(0, None)] * (
        spare + 1
    )  # by phase: rings so far, and (run, its rings, the chain before it)
    for run, count in zip(runs.tolist(), np.diff(runs, append=enter.size).tolist(), strict=True):
        so_far, chain = max(best[: enter[run] + 1], key=lambda entry: entry[0])
        if so_far + count > best[leave[run]][0]:
            best[leave[run]] = so_far + count, (run, count, chain)
    stays = np.zeros(enter.size, bool)
    chain = max(best, key=lambda entry: entry[0])[1]
    while chain is not None:
        run, count, chain = chain
        stays[run : run + count] = True
    return stays
