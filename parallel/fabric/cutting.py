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
    def worth(start: int, end: int) -> tuple[int, int]:
        inside = slice(*np.searchsorted(could.first, (start, end)))
        part = Staying(*(column[inside] for column in could))
        return (end - start) // m, int(_choose(np.array([start]), end, m, part).sum())

    def best(choices: list, end: int) -> tuple[int, int, list[int]]:
        """The best choice so far and its cuts, closed with a piece that ends at `end`."""
        closed = []
        for groups, stay, cuts in choices:
            more_groups, more_stay = worth(cuts[-1], end)
            closed.append((groups + more_groups, stay + more_stay, cuts))
        return max(closed, key=lambda choice: choice[:2])

    places = pivots(topology, walk)
    starts = walk.starts.tolist()
    ends = np.append(walk.starts[1:], walk.nodes.size).tolist()
    for segment in np.unique(np.searchsorted(walk.starts, places, side="right") - 1).tolist():
        start, end = starts[segment], ends[segment]
        choices = [(0, 0, [start])]
        for pivot in places[(start <= places) & (places < end)].tolist():
            choices = [(*(found := best(choices, at))[:2], [*found[2], at]) for at in (pivot, pivot + 1)]
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
    falls = np.append(False, (piece[1:] == piece[:-1]) & (enter[1:] < leave[:-1]))
    for rough in np.unique(piece[falls | ~fits]).tolist():
        part = np.flatnonzero((piece == rough) & fits)
        fits[part] = _longest_chain(enter[part], leave[part], int(lengths[rough] % m))
    return fits


def _longest_chain(enter: np.ndarray, leave: np.ndarray, spare: int) -> np.ndarray:
    """The most rings in walk order of which each enters with at least the phase that the one before it left."""
    fresh = (np.diff(enter, prepend=-1) != 0) | (leave != enter) | np.append(True, (leave != enter)[:-1])
    runs = np.flatnonzero(fresh)
    best = [(0, None)] * (spare + 1)  # by phase: rings so far, and (run, the chain before it)
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
