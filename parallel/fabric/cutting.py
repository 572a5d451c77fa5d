"""Cutting a walk of healthy nodes into groups, anew or around rings that may stay.

    m  nodes of a group     c  nodes of a piece of the walk     w = c mod m  nodes left over

A piece holds floor(c / m) groups wherever its w spare nodes lie. Let a ring begin at place P of its
piece, and call P mod m its phase: once the room before it is filled with groups, so many nodes
there are spare. Spare nodes only add up along the walk. So rings can stay together exactly if their
phases never fall and never exceed w, and the most rings that can stay are the longest such chain.

Example: m = 3, and a piece of c = 11 nodes (w = 2) with rings a, b, d and two spare nodes.

    place   0  1  2  3  4  5  6  7  8  9 10
    ring    a  a  a  .  b  b  b  .  d  d  d      phases 0, 1, 2: all three may stay

The node at place 1 fails. That breaks a; 10 nodes are left, and w = 1.

    place   0  1  2  3  4  5  6  7  8  9
    ring    .  .  .  b  b  b  .  d  d  d         phases 0, 1: b and d stay
    then    e  e  e  b  b  b  .  d  d  d

The node at place 0 fails. That breaks e; 9 nodes are left, and w = 0.

    place   0  1  2  3  4  5  6  7  8
    ring    .  .  b  b  b  .  d  d  d            phases 2, 0: b exceeds w and has to move
    then    f  f  f  g  g  g  d  d  d

One more thing bounds a piece. With an odd K > 1 the distances +K and -K hang on one bundle
(`port`), and a node whose two neighbours in the walk are both K away can open it towards one of
them only. Such a pivot can only end a ring: the walk is cut before or after it.
"""

from typing import NamedTuple, TypeAlias

import numpy as np

from parallel.fabric.topology import Bools, Ints, KHopRing, Topology

# (run of rings that stay, its number of rings, the chain before it)
Chain: TypeAlias = "tuple[int, int, Chain] | None"


class Walk(NamedTuple):
    """Healthy nodes in walk order, the places where its segments start, and the ring of each node;
    -1 for none.

    The end of a closed walk reaches its start.
    """

    nodes: Ints
    starts: Ints
    rings: Ints
    closed: bool = False


class Staying(NamedTuple):
    """Rings that could stay, in walk order, with their first and their last place."""

    ring: Ints
    first: Ints
    last: Ints

    def take(self, chosen: Bools | slice) -> "Staying":
        return Staying(self.ring[chosen], self.first[chosen], self.last[chosen])


class Cut(NamedTuple):
    """The rings that stay, and the groups formed around them, [groups, m]."""

    stay: Ints
    formed: Ints

    @property
    def worth(self) -> tuple[int, int]:
        """More groups come first, then more rings that stay."""
        return len(self.formed) + len(self.stay), len(self.stay)


class Pieces(NamedTuple):
    """One way to cut a segment at its pivots, up to some place."""

    groups: int  # in the pieces that are closed
    stay: int  # rings that stay in them
    starts: tuple[int, ...]  # of all pieces; the last of them is still open

    @property
    def worth(self) -> tuple[int, int]:
        return self.groups, self.stay


def walk_of(topology: Topology, nodes: Ints, starts: Ints, ring_of: Ints | None = None) -> Walk:
    """A walk through `nodes`; `ring_of` tells the present ring of every node of the fabric."""
    rings = np.full(nodes.size, -1) if ring_of is None else ring_of[nodes]
    one_segment = isinstance(topology, KHopRing) and starts.size == 1 and nodes.size > 1
    closed = one_segment and (nodes[0] - nodes[-1]) % topology.num_nodes <= topology.hops
    return Walk(nodes, starts, rings, bool(closed))


def cut(topology: Topology, walk: Walk, m: int) -> Cut:
    """The most groups of m nodes, and of all ways to form so many one in which the most rings
    stay.
    """
    cuts = [_cut_open(topology, turned, m) for turned in _turns(topology, walk, m)]
    return max(cuts, key=lambda cut: cut.worth)


def first_fit(topology: Topology, walk: Walk, m: int) -> Ints:
    """[groups, m]: the most groups of m nodes, each as early in its piece as can be."""
    found = []
    for turned in _turns(topology, walk, m):
        starts = pieces(topology, turned, m)
        lengths = np.diff(starts, append=walk.nodes.size)
        offset = np.arange(walk.nodes.size) - np.repeat(starts, lengths)
        in_groups = offset < np.repeat(lengths // m * m, lengths)
        found.append(turned.nodes[in_groups].reshape(-1, m))
    return max(found, key=len)


def _cut_open(topology: Topology, walk: Walk, m: int) -> Cut:
    could = _could_stay(walk, m)
    starts = pieces(topology, walk, m)
    stay = could.take(_choose(starts, walk.nodes.size, m, could))
    # Every place that no staying ring covers is free. A ring covers first to last: +1 where it
    # begins, -1 behind its end, and the running sum is 1 inside.
    edge = np.zeros(walk.nodes.size + 1, np.int8)
    edge[stay.first] += 1
    edge[stay.last + 1] -= 1
    free = np.flatnonzero(np.cumsum(edge[:-1], dtype=np.int8) == 0)
    # Free places form rooms, which begin with a piece or behind a staying ring.
    rooms = np.searchsorted(free, np.concatenate((starts, stay.last + 1)))
    blocks = _blocks(free.size, np.unique(rooms[rooms < free.size]), m)
    return Cut(stay.ring, walk.nodes[free[blocks]])


def _blocks(count: int, starts: Ints, m: int) -> Ints:
    """[groups, m] of range(count): every room is cut into groups, with its spare nodes spread
    between them.

    So a ring that loses a node finds a spare one near, and few rings move up to make room.

    >>> _blocks(11, np.array([0]), m=3).tolist()
    [[0, 1, 2], [4, 5, 6], [8, 9, 10]]
    """
    lengths = np.diff(starts, append=count)
    groups, spare = lengths // m, lengths % m
    room = np.repeat(np.arange(starts.size), groups)  # of each group
    j = np.arange(room.size) - np.repeat(np.cumsum(groups) - groups, groups)  # its number there
    # Spare nodes before group j: (j + 1/2) of `groups` shares of them, to the nearest integer.
    before = ((2 * j + 1) * spare[room] + groups[room] - 1) // (2 * groups[room])
    first = starts[room] + j * m + before
    groups_of_places: Ints = first[:, None] + np.arange(m)
    return groups_of_places


def pivots(topology: Topology, walk: Walk) -> Ints:
    """Places of the nodes that can only end a ring."""
    if not topology.shares_last_bundle or walk.nodes.size < 3:
        return np.empty(0, np.int64)
    step = np.diff(walk.nodes, append=walk.nodes[0]) % topology.num_nodes  # to the next node
    full = step == topology.hops
    full[walk.starts[1:] - 1] = False  # no step leads out of a segment
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
    places = pivots(topology, walk)[:1].tolist()
    if places:
        return [_turn(walk, place) for place in (places[0], places[0] + 1)]
    walk = _turn(walk, _ring_start(walk))
    first = _could_stay(walk, m).first
    if not first.size:
        return [_turn(walk, 0)]
    # Two rings have equal phase where the way from one to the other is a whole number of groups.
    fresh = first[(first - np.roll(first, 1)) % walk.nodes.size % m != 0]
    return [_turn(walk, place) for place in (fresh if fresh.size else first[:1]).tolist()]


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
    if new_ring.any():
        return int(places[np.argmax(new_ring)])
    # A lone ring starts behind the longest room.
    return int(places[np.argmax((places - np.roll(places, 1)) % walk.nodes.size)])


def _could_stay(walk: Walk, m: int) -> Staying:
    """Rings that still have all their nodes, with no node of another ring between them."""
    places = np.flatnonzero(walk.rings >= 0)
    ring = walk.rings[places]
    run = np.flatnonzero(np.diff(ring, prepend=-1))  # where nodes of one ring begin in `places`
    run = run[np.diff(run, append=ring.size) == m]
    return Staying(ring[run], places[run], places[run + m - 1])


def pieces(topology: Topology, walk: Walk, m: int) -> Ints:
    """Where the pieces of an open walk start, once every pivot has gone to the piece before it or
    behind it.
    """
    could = _could_stay(walk, m)
    places = pivots(topology, walk)
    starts = walk.starts.tolist()
    ends = [*starts[1:], walk.nodes.size]
    with_pivots = np.unique(np.searchsorted(walk.starts, places, side="right") - 1)
    for segment in with_pivots.tolist():
        start, end = starts[segment], ends[segment]
        inside = places[(start <= places) & (places < end)].tolist()
        starts += _cut_at_pivots(start, end, inside, m, could)[1:]
    return np.unique(np.array(starts, np.int64))


def _cut_at_pivots(
    start: int, end: int, places: list[int], m: int, could: Staying
) -> tuple[int, ...]:
    """Where the pieces of one segment start.

    Exact: between one pivot and the next only the place of the last cut matters, so the best way to
    each of its two places is carried along.
    """

    def close(way: Pieces, at: int) -> Pieces:
        """The open piece ends at `at`."""
        first = way.starts[-1]
        part = could.take(slice(*np.searchsorted(could.first, (first, at)).tolist()))
        stays = _choose(np.array([first]), at, m, part)
        return Pieces(way.groups + (at - first) // m, way.stay + int(stays.sum()), way.starts)

    def best(ways: list[Pieces], at: int) -> Pieces:
        return max((close(way, at) for way in ways), key=lambda way: way.worth)

    ways = [Pieces(0, 0, (start,))]
    for pivot in places:
        found = [(best(ways, at), at) for at in (pivot, pivot + 1)]
        ways = [Pieces(way.groups, way.stay, (*way.starts, at)) for way, at in found]
    return best(ways, end).starts


def _choose(starts: Ints, end: int, m: int, could: Staying) -> Bools:
    """Which rings stay in the pieces that begin at `starts`, the last of which ends at `end`."""
    piece = np.searchsorted(starts, could.first, side="right") - 1
    lengths = np.diff(starts, append=end)
    enter = (could.first - starts[piece]) % m
    leave = enter + could.last - could.first + 1 - m  # a ring may have spare nodes inside
    spare = (lengths % m)[piece]
    fits: Bools = (leave <= spare) & (could.last < (starts + lengths)[piece])
    # Nearly always the phases of a piece rise by themselves; only where they do not is there
    # anything to choose.
    falls = np.zeros(piece.size, bool)
    falls[1:] = (piece[1:] == piece[:-1]) & (enter[1:] < leave[:-1])
    for rough in np.unique(piece[falls | ~fits]).tolist():
        part = np.flatnonzero((piece == rough) & fits)
        fits[part] = _longest_chain(enter[part], leave[part], int(lengths[rough] % m))
    return fits


def _longest_chain(enter: Ints, leave: Ints, spare: int) -> Bools:
    """The most rings in walk order of which each enters with at least the phase that the one before
    it left.

    Rings one after the other that enter and leave with one phase stay together or not at all, so
    they count as one run. `best[p]` is the longest chain so far that leaves with phase p.

    >>> _longest_chain(np.array([2, 0, 0, 1, 1]), np.array([2, 0, 0, 1, 1]), spare=2).tolist()
    [False, True, True, True, True]
    """
    holes = leave != enter
    fresh = np.diff(enter, prepend=-1) != 0
    fresh |= holes
    fresh[1:] |= holes[:-1]
    runs = np.flatnonzero(fresh)
    counts = np.diff(runs, append=enter.size)
    best: list[tuple[int, Chain]] = [(0, None)] * (spare + 1)
    for run, count in zip(runs.tolist(), counts.tolist(), strict=True):
        so_far, chain = max(best[: enter[run] + 1], key=lambda entry: entry[0])
        if so_far + count > best[leave[run]][0]:
            best[leave[run]] = so_far + count, (run, count, chain)
    stays = np.zeros(enter.size, bool)
    chain = max(best, key=lambda entry: entry[0])[1]
    while chain is not None:
        run, count, chain = chain
        stays[run : run + count] = True
    return stays
