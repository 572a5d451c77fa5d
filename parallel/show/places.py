"""Rings over time: a ring keeps its place in the list, and so its colour in every picture."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

Nodes = Sequence[int]  # of a ring, in the order in which it passes them


def settle(places: Sequence[Nodes], rings: Sequence[Nodes]) -> list[tuple[int, ...]]:
    """Gives every ring a place: where it was, or where most of its nodes were.

    Args:
      places: the ring that each place held last; () for none.
      rings: the rings now, in any order.

    Returns: the ring at each place; () where there is none now.

    >>> settle([(0, 1), (2, 3), (4, 5)], [(0, 1), (4, 6), (2, 5)])
    [(0, 1), (2, 5), (4, 6)]
    >>> settle([(0, 1), (2, 3)], [(2, 3)])
    [(), (2, 3)]
    """
    held = [tuple(ring) for ring in places]
    now = [tuple(ring) for ring in rings]
    settled = [ring if ring in now else () for ring in held]
    fresh = [ring for ring in now if ring not in held]
    for _ in range(len(fresh) - settled.count(())):
        settled.append(())
        held.append(())
    for ring in fresh:
        free = [place for place, other in enumerate(settled) if not other]
        settled[max(free, key=lambda place: len(set(held[place]) & set(ring)))] = ring
    return settled


def over_time(moments: Iterable[Sequence[Nodes]]) -> list[list[tuple[int, ...]]]:
    """The rings of every moment, settled; a place remembers its last ring while it is empty.

    >>> over_time([[(0, 1), (2, 3), (4, 5)], [(0, 1), (4, 5)], [(4, 5), (2, 6), (0, 1)]])
    [[(0, 1), (2, 3), (4, 5)], [(0, 1), (), (4, 5)], [(0, 1), (2, 6), (4, 5)]]
    """
    found: list[list[tuple[int, ...]]] = []
    places: list[tuple[int, ...]] = []
    for rings in moments:
        settled = settle(places, rings)
        places += [()] * (len(settled) - len(places))
        places = [now or last for now, last in zip(settled, places, strict=True)]
        found.append(settled)
    return found


def newly_lit(before: Iterable[Nodes], after: Iterable[Nodes]) -> list[tuple[int, int]]:
    """Pairs of nodes that are joined in `after` and were not before.

    >>> newly_lit([(0, 1, 2)], [(2, 1), (1, 3)])
    [(1, 3)]
    """
    joined = {frozenset(pair) for ring in before for pair in pairwise(ring)}
    return [pair for ring in after for pair in pairwise(ring) if frozenset(pair) not in joined]
