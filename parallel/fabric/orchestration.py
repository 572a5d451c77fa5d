"""Orchestration: which rings a job gets, so that little of its traffic crosses ToRs.

    p  sub-lines, one node of every ToR each    T  ToRs    m  nodes of a group    s  peers of a set

Three algorithms under one call. `greedy` takes groups as they come. `paper` is InfinitePOD's
(arXiv 2502.03885): with n constraints, a ToR with any faulty node is left out of all sub-lines in
the first n domains, so that groups lie side by side there; a binary search finds the largest n that
still fits the job. `ours` gives up single nodes instead of ToRs (`alignment`), and is never worse
than either.
"""

import bisect
import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from parallel.fabric.alignment import NEVER, Costs, PairOfRows, align
from parallel.fabric.cutting import first_fit, walk_of
from parallel.fabric.dcn import FatTree, Job, Traffic, crossings, traffic
from parallel.fabric.placement import Placement
from parallel.fabric.topology import Bools, Ints, KHopLine, Nodes, Topology

SWEEP = 512  # columns that are aligned in one sweep


@dataclass(frozen=True)
class Orchestration:
    """The rings of a job, in its order: every `peers` groups in turn are a set."""

    algorithm: str
    placement: Placement
    traffic: Traffic

    @property
    def num_groups(self) -> int:
        return len(self.placement.groups)


def orchestrate(
    algorithm: str,
    topology: Topology,
    tree: FatTree,
    failed: Collection[int],
    nodes_per_group: int,
    job: Job,
) -> Orchestration:
    """Places up to `job.num_groups` groups; fewer only where the algorithm finds room for no more.

    >>> from parallel.fabric.topology import KHopRing
    >>> ring, tree = KHopRing(num_nodes=32, hops=2), FatTree(num_nodes=32, nodes_per_tor=4)
    >>> for name in ("greedy", "paper", "ours"):
    ...     found = orchestrate(name, ring, tree, {3}, nodes_per_group=2, job=Job(num_groups=14))
    ...     print(name, found.num_groups, found.traffic.peers_cross)
    greedy 14 1.0
    paper 14 0.21428571428571427
    ours 14 0.0
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(
            f"there is no algorithm {algorithm!r}: take one of {', '.join(ALGORITHMS)}."
        )
    if topology.num_nodes != tree.num_nodes:
        raise ValueError(
            f"a fabric of {topology.num_nodes} nodes does not hang on a tree of {tree.num_nodes}."
        )
    alive = np.zeros(tree.num_nodes, bool)
    alive[topology.healthy(failed)] = True
    groups = ALGORITHMS[algorithm](topology, tree, alive, nodes_per_group, job)
    rings: tuple[Nodes, ...] = tuple(tuple(group) for group in groups.tolist())
    return Orchestration(algorithm, Placement(rings), traffic(tree, job, groups))


def dcn_free(topology: Topology, alive: Bools, m: int) -> Ints:
    """[groups, m] that ignore the DCN: every segment is cut into blocks of m, one by one."""
    return first_fit(topology, walk_of(topology, *topology.walk(np.flatnonzero(~alive))), m)


def greedy(topology: Topology, tree: FatTree, alive: Bools, m: int, job: Job) -> Ints:
    """The first groups along the fabric, in that order."""
    return dcn_free(topology, alive, m)[: job.num_groups]


def paper(topology: Topology, tree: FatTree, alive: Bools, m: int, job: Job) -> Ints:
    """The groups under the most constraints that leave room for the job."""
    fits, too_many = 0, tree.num_domains + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if len(constrained(topology, tree, alive, m, middle)) >= job.num_groups:
            fits = middle
        else:
            too_many = middle
    return arranged(tree, constrained(topology, tree, alive, m, fits), job)


def constrained(topology: Topology, tree: FatTree, alive: Bools, m: int, n: int) -> Ints:
    """[groups, m]: aligned across all sub-lines in the first n domains, ignoring the DCN behind
    them.
    """
    clean = alive.reshape(tree.nodes_per_tor, tree.num_tors).all(axis=0)
    domain = np.arange(tree.num_tors) // tree.tors_per_domain
    line = KHopLine(tree.num_tors, topology.hops)
    columns = [dcn_free(line, clean & (domain == this), m) for this in range(n)]
    rows = np.arange(tree.nodes_per_tor)[:, None, None] * tree.num_tors
    free = dcn_free(topology, alive & (tree.domain(np.arange(tree.num_nodes)) >= n), m)
    return np.concatenate([*((rows + found).reshape(-1, m) for found in columns), free])


def arranged(tree: FatTree, groups: Ints, job: Job) -> Ints:
    """The job's groups in sets: first sets under equal ToRs, then the rest by their ToRs, best sets
    first.
    """
    tors = tree.tor(groups)
    order = np.lexsort(tors.T[::-1])
    groups, tors = groups[order], tors[order]
    first = np.flatnonzero((np.diff(tors, axis=0, prepend=-1) != 0).any(axis=1))
    count = np.diff(first, append=len(groups))
    place = np.arange(len(groups)) - np.repeat(first, count)
    aligned = place < np.repeat(count // job.peers * job.peers, count)
    rest = groups[~aligned]
    whole = rest[: len(rest) // job.peers * job.peers].reshape(-1, job.peers, rest.shape[1])
    best = np.argsort(crossings(tree.tor(whole), axis=1).sum(axis=1), kind="stable")
    ordered = (
        groups[aligned],
        whole[best].reshape(-1, rest.shape[1]),
        rest[whole.size // rest.shape[1] :],
    )
    return np.concatenate(ordered)[: job.num_groups]


def ours(topology: Topology, tree: FatTree, alive: Bools, m: int, job: Job) -> Ints:
    """The best of pairs of rows aligned exactly, the paper's groups and the greedy ones."""
    found = [
        paired(topology, tree, alive, m, job),
        paper(topology, tree, alive, m, job),
        arranged(tree, dcn_free(topology, alive, m), job),
        greedy(topology, tree, alive, m, job),
    ]
    return min(found, key=lambda groups: (-len(groups), traffic(tree, job, groups).cross_tor))


def paired(topology: Topology, tree: FatTree, alive: Bools, m: int, job: Job) -> Ints:
    """Sets of two in pairs of sub-lines, as few crossing ranks as can be; the rest from what they
    leave.

    Where that is too little for the job, sets are given up from the front until it is enough.
    """
    pairs = aligned_pairs(topology, tree, alive, m, job.num_groups // 2)

    def without(given_up: int) -> Ints:
        kept = pairs[given_up:].reshape(-1, m)
        left = alive.copy()
        left[kept] = False
        rest = arranged(tree, dcn_free(topology, left, m), job)
        return np.concatenate([kept, rest])[: job.num_groups]

    # The fewest sets given up that leave room for the job.
    counts = range(len(pairs))
    return without(bisect.bisect_left(counts, job.num_groups, key=lambda n: len(without(n))))


def aligned_pairs(topology: Topology, tree: FatTree, alive: Bools, m: int, wanted: int) -> Ints:
    """[sets, 2, m]: up to `wanted` sets in neighbouring sub-lines, exactly the fewest crossing
    ranks.

    With an odd K the last bundle is left to the other groups, so that no node needs it twice.
    """
    reach = topology.hops - topology.shares_last_bundle
    rows = alive.reshape(tree.nodes_per_tor, tree.num_tors)
    upper_rows, columns = range(0, tree.nodes_per_tor - 1, 2), range(0, tree.num_tors, SWEEP)
    corners = list(itertools.product(upper_rows, columns))

    def sweep(row: int, column: int) -> PairOfRows:
        return align(rows[row : row + 2, column : column + SWEEP], m, reach)

    found: list[Ints] = []
    crossing = [sweep(*corner).crossing for corner in corners]
    for (row, column), n in zip(corners, shares(crossing, wanted), strict=True):
        origin = column + tree.num_tors * np.array([[row], [row + 1]])
        # Swept again, because the sweeps of all corners would not fit into memory.
        found += [origin + np.array(columns) for columns in sweep(row, column).sets(n)]
    return np.array(found, np.int64).reshape(-1, 2, m)


def shares(crossing: list[Costs], wanted: int) -> list[int]:
    """How many sets each pair of rows gives, so that together they give `wanted`, or all they can,
    with the fewest crossing ranks.

    Args: crossing: crossing[pair][n] is what n sets of a pair cost.
    """
    cheapest = np.zeros(1, np.int64)  # by sets of the pairs so far
    choices = []  # of each pair: how many of them it gives
    for costs in crossing:
        possible = np.flatnonzero(costs < NEVER)
        total = np.full(
            (possible.size, cheapest.size + possible.size - 1), np.iinfo(np.int64).max // 2
        )
        for n in possible:
            total[n, n : n + cheapest.size] = cheapest + costs[n]
        choices.append(total.argmin(axis=0))
        cheapest = total.min(axis=0)
    rest = min(wanted, cheapest.size - 1)
    taken: list[int] = []
    for choice in reversed(choices):
        taken.append(int(choice[rest]))
        rest -= taken[-1]
    return taken[::-1]


ALGORITHMS = {"greedy": greedy, "paper": paper, "ours": ours}
