"""Cutting a walk of healthy nodes into groups, anew or around rings that may stay.

    m  nodes of a group     c  nodes of a piece of the walk     w = c mod m  nodes that are left over

A piece holds floor(c / m) groups wherever its w spare nodes lie.  Let a ring begin at place P of its piece and
call P mod m its phase: so many nodes before it are spare once the room between staying rings is filled with
groups.  Spare nodes only add up along the walk.  So rings can stay together exactly if their phases never fall
and never exceed w, and the most rings that can stay are the longest such chain.

One more thing bounds a piece.  With an odd K > 1 the distances +K and -K hang on one bundle (`port`), and a
node whose two neighbours in the walk are both K away can open it towards one of them only.  Such a pivot ends a
ring: the walk is cut before or after it.
"""

from typing import NamedTuple

import numpy as np

from parallel.fabric.topology import KHopRing, Topology


class Walk(NamedTuple):
    """Healthy nodes in walk order and the places where its pieces start; a closed one ends beside its start."""

    nodes: np.ndarray
    starts: np.ndarray
    closed: bool = False


class Staying(NamedTuple):
    """Rings that could stay, in walk order: their row in `rings`, first place and last place."""

    row: np.ndarray
    first: np.ndarray
    last: np.ndarray


NOBODY = Staying(*np.empty((3, 0), np.int64))


class Cut(NamedTuple):
    """The rows of `rings` that stay, and the groups formed around them, [groups, m]."""

    stay: np.ndarray
    formed: np.ndarray

    @property
    def worth(self) -> tuple[int, int]:
        """More groups come first, then more rings that stay."""
        return len(self.formed) + len(self.stay), len(self.stay)


def walk_of(topology: Topology, nodes: np.ndarray, starts: np.ndarray) -> Walk:
    closed = isinstance(topology, KHopRing) and starts.size == 1 and nodes.size > 1
    return Walk(nodes, starts, bool(closed and topology.reaches(int(nodes[-1]), int(nodes[0]))))


def cut(topology: Topology, walk: Walk, m: int, rings: np.ndarray) -> Cut:
    """The most groups of m nodes, and of all ways to form so many one in which the most of `rings` stay."""
    cuts = [_cut_open(topology, turned, m, rings) for turned in _turns(topology, walk, m, rings)]
    return max(cuts, key=lambda cut: cut.worth)


def _cut_open(topology: Topology, walk: Walk, m: int, rings: np.ndarray) -> Cut:
    could = _could_stay(topology, walk, rings)
    starts = cut_at_pivots(topology, walk, m, could)
    chosen = _choose(starts, walk.nodes.size, m, could)
    row, first, last = (column[chosen] for column in could)
    edge = np.zeros(walk.nodes.size + 1, np.int8)
    edge[first] += 1
    edge[last + 1] -= 1
    free = np.flatnonzero(np.cumsum(edge[:-1]) == 0)
    rooms = np.searchsorted(free, np.concatenate((starts, last + 1)))  # where the free nodes of a room start
    return Cut(row, walk.nodes[free[_blocks(free.size, np.unique(rooms[rooms < free.size]), m)]])


def _blocks(count: int, starts: np.ndarray, m: int) -> np.ndarray:
    """[groups, m] of range(count): every piece is cut into groups, with its spare nodes spread between them.

    So a ring that loses a node finds a spare one near, and few rings move up to make room.
    """
    lengths = np.diff(starts, append=count)
    groups, spare = lengths // m, lengths % m
    piece = np.repeat(np.arange(starts.size), groups)
    j = np.arange(piece.size) - np.repeat(np.cumsum(groups) - groups, groups)
    spare_before = (2 * j * spare[piece] + groups[piece]) // (2 * groups[piece])
    return (starts[piece] + j * m + spare_before)[:, None] + np.arange(m)


def pivots(topology: Topology, walk: Walk) -> np.ndarray:
    """Places of the nodes that can only end a ring."""
    if not topology.shares_last_bundle or walk.nodes.size < 3:
        return np.empty(0, np.int64)
    full = np.diff(walk.nodes, append=walk.nodes[0]) % topology.num_nodes == topology.hops  # the step behind
    full[walk.starts[1:] - 1] = False
    full[-1] &= walk.closed
    return np.flatnonzero(full & np.roll(full, 1))


def _turns(topology: Topology, walk: Walk, m: int, rings: np.ndarray) -> list[Walk]:
    """The open walks to try.

    A closed walk may be opened anywhere: at a pivot, which then ends the walk or begins it; else before a ring
    that stays, and of rings one after the other with equal phase only the first needs a try.
    """
    if not walk.closed:
        return [walk]
    places = pivots(topology, walk)[:1]
    if places.size:
        places = np.append(places, places + 1)
    elif len(rings):
        first = np.sort(_places(topology, walk, rings[:, 0]))
        first = first[first >= 0]
        places = first[(first - np.roll(first, 1)) % walk.nodes.size % m != 0]
        places = places if places.size else first[:1]
    if not places.size:
        places = np.zeros(1, np.int64)
    return [Walk(np.roll(walk.nodes, -place), walk.starts) for place in places.tolist()]


def _places(topology: Topology, walk: Walk, nodes: np.ndarray) -> np.ndarray:
    """Where each of `nodes` is in the walk; -1 where it is not."""
    if not walk.nodes.size:
        return np.full(nodes.shape, -1)
    origin = walk.nodes[0]
    walked = (walk.nodes - origin) % topology.num_nodes  # ascending
    wanted = (nodes - origin) % topology.num_nodes
    place = np.minimum(np.searchsorted(walked, wanted), walked.size - 1)
    return np.where(walked[place] == wanted, place, -1)


def _could_stay(topology: Topology, walk: Walk, rings: np.ndarray) -> Staying:
    """Rings that are whole, in one piece, walked forwards, and not entangled with a ring before them."""
    places = _places(topology, walk, rings)
    steps = np.diff(rings, axis=1) % topology.num_nodes
    sound = (places >= 0).all(1) & (np.diff(places, axis=1) > 0).all(1) & (steps <= topology.hops).all(1)
    row = np.flatnonzero(sound)
    row = row[np.argsort(places[row, 0])]
    first, last = places[row, 0], places[row, -1]
    apart = first > np.maximum.accumulate(np.append(-1, last))[:-1]
    return Staying(row[apart], first[apart], last[apart])


def cut_at_pivots(topology: Topology, walk: Walk, m: int, could: Staying = NOBODY) -> np.ndarray:
    """Where pieces start once every pivot has gone to the piece before it or to the one behind it.

    Exact: from one pivot to the next only the place of the cut matters, so two choices are carried along.
    """

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
    """The most rings in walk order of which each enters with at least the phase that the one before it left."""
    holes = leave != enter
    fresh = (np.diff(enter, prepend=-1) != 0) | holes | np.append(True, holes)[: holes.size]
    runs = np.flatnonzero(fresh)
    best = [(0, None)] * (spare + 1)  # by phase: rings so far, and (run, its rings, the chain before it)
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
