"""Rings around single broken parts: a cut fibre, a stuck or a dead OCSTrx, without giving up whole
nodes.

A ring may then leave out a healthy node, or thread between the nodes of another. The search walks
a segment forwards, once, and keeps for every shape of unfinished rings the best way to get there.

Example: a line of 6 nodes, K = 2, groups of m = 3, and the fibre between nodes 1 and 2 is cut. The
rings (0, 1, 2) and (3, 4, 5) cannot be. The search finds two others that thread:

    node    0    1    2    3    4    5
    ring a  0 ── 1 ─────── 3
    ring b            2 ─────── 4 ── 5

    after node   rings under way     finished
        1        (0, 1)
        2        (0, 1), (2,)                    2 cannot go on with (0, 1): it begins a ring
        3        (2,)                (0, 1, 3)
        4        (2, 4)              (0, 1, 3)
        5                            (0, 1, 3), (2, 4, 5)

A row of this table is a front. After each node there are many, and of fronts whose unfinished rings
end alike only the best is kept. Nearly always nothing holds more groups: of small worlds tried
completely it missed one group in 2 of 6,500 for K <= 2, where all steps of a ring lead the same
way, and in about 1 of 100 for K = 3.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from parallel.fabric.placement import Placement, check_group_size, place
from parallel.fabric.topology import KHopRing, Nodes, Topology

Bundle = tuple[int, int]  # (node, bundle of that node)
Finished: TypeAlias = "tuple[Nodes, Finished] | None"  # a ring, and those before it


@dataclass(frozen=True)
class Damage:
    """Pairs of nodes whose fibre is cut, and the paths that bundles still have; unnamed ones have
    all three.
    """

    fibres: frozenset[frozenset[int]] = frozenset()
    paths: dict[Bundle, frozenset[str]] = field(default_factory=dict)

    def allows(self, topology: Topology, node: int, before: int | None, behind: int | None) -> bool:
        """Whether `node` can lie in a ring between `before` and `behind`; None is the end of the
        ring.
        """
        opened: dict[int, str] = {}
        for other in (before, behind):
            if other is not None:
                bundle, path = topology.port(node, other)
                if bundle in opened or frozenset((node, other)) in self.fibres:
                    return False
                opened[bundle] = path
        for bundle in range(topology.num_bundles):
            paths = self.paths.get((node, bundle))
            if paths is not None and opened.get(bundle, "loopback") not in paths:
                return False
        return True

    def touches(self, node: int) -> bool:
        """Whether anything in this node, or a fibre of it, is broken."""
        in_fibre = any(node in fibre for fibre in self.fibres)
        return in_fibre or any(node == place for place, _ in self.paths)


class Front(NamedTuple):
    """What has become of the nodes up to some place of the walk."""

    num_groups: int = 0
    groups: Finished = None
    under_way: tuple[Nodes, ...] = ()  # rings that may still go on


def place_around(
    damage: Damage, topology: Topology, failed: Collection[int], nodes_per_group: int
) -> Placement:
    """As many groups as the healthy nodes form over the parts that still work.

    >>> from parallel.fabric.topology import KHopLine
    >>> line, cut = KHopLine(num_nodes=6, hops=2), Damage(fibres=frozenset({frozenset({1, 2})}))
    >>> place_around(cut, line, failed=(), nodes_per_group=3).groups
    ((0, 1, 3), (2, 4, 5))
    """
    check_group_size(nodes_per_group)
    hurt = [segment for segment in topology.segments(failed) if any(map(damage.touches, segment))]
    groups = list(place(topology, set(failed).union(*hurt), nodes_per_group).groups)
    for segment in hurt:
        turns = _turns(topology, segment, nodes_per_group)
        found = [_go_round(damage, topology, turn, nodes_per_group) for turn in turns]
        most = max(found, key=len)
        groups += most
    return Placement(tuple(groups))


def _turns(topology: Topology, segment: list[int], m: int) -> list[list[int]]:
    """Where to open a segment: an unbroken circle has a place between two rings among any 2 m in a
    row.
    """
    gap = (segment[0] - segment[-1]) % topology.num_nodes
    closed = isinstance(topology, KHopRing) and gap <= topology.hops
    turns = min(2 * m, len(segment)) if closed else 1
    return [segment[turn:] + segment[:turn] for turn in range(turns)]


def _go_round(damage: Damage, topology: Topology, walk: list[int], m: int) -> list[Nodes]:
    """The most groups along an open walk.

    Only the surroundings of the damage are searched. The m nodes of a ring span at most m K places,
    so a ring that begins more than m K places before the first broken node ends before it. The
    nodes up to there are cut into whole groups, and so are those behind the last broken node. With
    an odd K > 1 the whole walk is searched, because a pivot at any place limits which groups fit.
    """
    broken = [place for place, node in enumerate(walk) if damage.touches(node)]
    margin = len(walk) if topology.shares_last_bundle else m * topology.hops
    before = max(0, (broken[0] - margin) // m * m)
    behind = max(0, (len(walk) - 1 - broken[-1] - margin) // m * m)
    end = len(walk) - behind
    starts = (*range(0, before, m), *range(end, len(walk), m))
    outside = [tuple(walk[at : at + m]) for at in starts]
    return [*outside, *_search(damage, topology, walk[before:end], m)]


def _search(damage: Damage, topology: Topology, walk: list[int], m: int) -> list[Nodes]:
    """The most groups, by the best way to reach every shape of rings under way."""
    fronts = [Front()]
    for node in walk:
        reached = [new for old in fronts for new in _steps(damage, topology, old, node, m)]
        fronts = _prune(damage, topology, reached)
    found: list[Nodes] = []
    rest = max(fronts, key=lambda front: front.num_groups).groups
    while rest is not None:
        ring, rest = rest
        found.append(ring)
    return found[::-1]


def _steps(damage: Damage, topology: Topology, front: Front, node: int, m: int) -> Iterator[Front]:
    """What a front can become at the next node: the node stays out, begins a ring, or goes on with
    one.
    """
    near = tuple(
        ring for ring in front.under_way if (node - ring[-1]) % topology.num_nodes <= topology.hops
    )
    yield front._replace(under_way=near)
    for ring in ((), *near):  # () begins a ring
        if ring and not damage.allows(topology, ring[-1], _before_last(ring), node):
            continue
        others = tuple(other for other in near if other is not ring)
        if len(ring) + 1 < m:
            yield front._replace(under_way=(*others, (*ring, node)))
        elif damage.allows(topology, node, ring[-1] if ring else None, None):
            yield Front(front.num_groups + 1, ((*ring, node), front.groups), others)


def _prune(damage: Damage, topology: Topology, fronts: list[Front]) -> list[Front]:
    """The fronts that no other one beats.

    At most one group is still to come from every ring under way, and of rings that end alike the
    longer is at least as good.
    """
    leader = max(fronts, key=lambda front: (front.num_groups, len(front.under_way)))
    best: dict[tuple[tuple[int, int | None], ...], list[Front]] = {}
    for front in sorted(fronts, key=lambda front: -front.num_groups):
        if front is leader or front.num_groups + len(front.under_way) > leader.num_groups:
            ends = tuple(_end(damage, topology, ring) for ring in front.under_way)
            rivals = best.setdefault(ends, [])
            if not any(_beats(rival, front) for rival in rivals):
                rivals.append(front)
    return [front for kept in best.values() for front in kept]


def _end(damage: Damage, topology: Topology, ring: Nodes) -> tuple[int, int | None]:
    """All that decides how a ring can go on: its last node, and where that matters the one before
    it.
    """
    limited = topology.shares_last_bundle or damage.touches(ring[-1])
    return ring[-1], _before_last(ring) if limited else None


def _before_last(ring: Nodes) -> int | None:
    return ring[-2] if len(ring) > 1 else None


def _beats(a: Front, b: Front) -> bool:
    """Whether front `a`, which has no fewer groups, has no shorter ring either."""
    return all(len(x) >= len(y) for x, y in zip(a.under_way, b.under_way, strict=True))
