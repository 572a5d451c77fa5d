"""Orchestration is never worse than the paper's algorithm or the greedy one."""

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel.fabric.alignment import NEVER
from parallel.fabric.dcn import FatTree, Job
from parallel.fabric.orchestration import ALGORITHMS, orchestrate
from parallel.fabric.placement import place
from parallel.fabric.switchboard import Switchboard
from parallel.fabric.topology import KHopLine, KHopRing


def test_an_algorithm_that_is_not_known_is_refused():
    with pytest.raises(
        ValueError, match="there is no algorithm 'best': take one of greedy, paper, ours"
    ):
        orchestrate("best", KHopLine(8, 2), FatTree(8, 2), (), 2, Job(2))


@st.composite
def jobs(draw):
    nodes_per_tor, tors = draw(st.sampled_from([1, 2, 3, 4])), draw(st.integers(4, 30))
    num_nodes = nodes_per_tor * tors
    hops = draw(st.integers(1, 3))
    fabric = KHopRing if draw(st.booleans()) and hops <= (num_nodes - 1) // 2 else KHopLine
    failed = draw(st.frozensets(st.integers(0, num_nodes - 1), max_size=num_nodes // 3))
    tree = FatTree(num_nodes, nodes_per_tor, tors_per_domain=draw(st.integers(2, 10)))
    m = draw(st.integers(1, 5))
    job = Job(
        num_groups=draw(st.integers(1, num_nodes // m + 1)),
        peers=draw(st.sampled_from([1, 2, 3, 4])),
    )
    return fabric(num_nodes, hops), tree, failed, m, job


@settings(max_examples=60)
@given(jobs())
def test_ours_is_never_worse_and_every_algorithm_gives_rings_that_can_be_lit(given_job):
    topology, tree, failed, m, job = given_job
    found = {name: orchestrate(name, *given_job) for name in ALGORITHMS}
    for result in found.values():
        groups = result.placement.groups
        assert all(len(group) == m for group in groups) and len(groups) <= job.num_groups
        Switchboard(topology, gpus_per_node=4).switch(groups, failed)
    for other in ("greedy", "paper"):
        assert found["ours"].num_groups >= found[other].num_groups
        if found["ours"].num_groups == found[other].num_groups:
            assert found["ours"].traffic.cross_tor <= found[other].traffic.cross_tor
    assert found["ours"].num_groups == min(job.num_groups, len(place(topology, failed, m).groups))


@pytest.mark.parametrize("hops", [2, 3])
def test_little_crosses_below_seven_percent_of_faults(hops):
    """TP-32 on nodes of 4 GPUs, a job of 85 % of 8,192 GPUs: the paper's claim, by our
    algorithm.
    """
    num_nodes = 2048
    topology, tree = KHopRing(num_nodes, hops), FatTree(num_nodes)
    job = Job(num_groups=int(0.85 * num_nodes / 8))
    for fault_ratio in (0.0, 0.02, 0.05, 0.07):
        failed = np.random.default_rng(1).choice(
            num_nodes, round(fault_ratio * num_nodes), replace=False
        )
        ours = orchestrate("ours", topology, tree, failed.tolist(), 8, job)
        paper = orchestrate("paper", topology, tree, failed.tolist(), 8, job)
        assert ours.num_groups == job.num_groups
        assert ours.traffic.cross_tor_of_all <= 0.02
        assert ours.traffic.cross_tor <= paper.traffic.cross_tor
    assert ours.traffic.cross_tor < paper.traffic.cross_tor / 2


def optimum_ref(topology, tree: FatTree, failed: set[int], m: int, wanted: int) -> int:
    """The fewest crossing ranks of `wanted` sets of two groups, over every way to form and to pair
    rings.
    """
    rings = []
    for first in range(tree.num_nodes):
        paths = [(first,)]
        for _ in range(m - 1):
            paths = [
                (*path, node)
                for path in paths
                for node in range(path[-1] + 1, tree.num_nodes)
                if topology.reaches(path[-1], node)
            ]
        rings += [path for path in paths if not failed & set(path)]
    by_lowest: dict[int, list] = {}
    for a, b in itertools.combinations(rings, 2):
        if not set(a) & set(b):
            crossing = sum(tree.tor(x) != tree.tor(y) for x, y in zip(a, b, strict=True))
            by_lowest.setdefault(min(*a, *b), []).append((sum(1 << n for n in (*a, *b)), crossing))

    @cache
    def best(left: int, sets: int) -> int:
        if sets == 0:
            return 0
        if left.bit_count() < 2 * m * sets:
            return NEVER
        lowest = (left & -left).bit_length() - 1
        fewest = best(left & (left - 1), sets)
        for nodes, crossing in by_lowest.get(lowest, ()):
            if nodes & ~left == 0:
                fewest = min(fewest, crossing + best(left & ~nodes, sets - 1))
        return fewest

    return best(sum(1 << n for n in set(range(tree.num_nodes)) - failed), wanted)


def test_distance_from_the_true_optimum_in_small_worlds():
    random = np.random.default_rng(0)
    topology, tree, m = KHopLine(12, 2), FatTree(12, nodes_per_tor=2, tors_per_domain=3), 2
    crossing = dict.fromkeys(("greedy", "paper", "ours", "optimum"), 0)
    for wanted, faults in itertools.product((1, 2), (1, 2, 3)):
        for _ in range(4):
            failed = set(random.choice(12, faults, replace=False).tolist())
            optimum = optimum_ref(topology, tree, failed, m, wanted)
            if optimum >= NEVER:
                continue
            crossing["optimum"] += optimum
            for name in ALGORITHMS:
                found = orchestrate(name, topology, tree, failed, m, Job(num_groups=2 * wanted))
                ranks = round(found.traffic.peers_cross * found.num_groups * m) // 2
                assert found.num_groups == 2 * wanted and ranks >= optimum
                crossing[name] += ranks
    print("crossing ranks:", crossing)
    assert crossing["ours"] <= crossing["optimum"] + 2 < crossing["paper"]
