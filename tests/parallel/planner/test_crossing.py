"""Crossing traffic: ours is never above the others, and the paper's near-zero below 7 % of faults
holds.
"""

from parallel.planner.crossing import cross_tor, sweeps
from parallel.planner.worlds import Cluster

TREE = {"nodes_per_tor": 4, "tors_per_domain": 64}


def test_ours_is_never_above_the_others_at_no_fewer_groups():
    points = sweeps([0.0, 0.03, 0.07, 0.12], [0.8, 0.85, 0.9], 0.05)
    rows = cross_tor(Cluster(2048), {"peers": 2}, TREE, 32, 2, points, draws=2, seed=0)
    assert len(rows) == 3 * len(points)
    for greedy, paper, ours in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert [row.algorithm for row in (greedy, paper, ours)] == ["greedy", "paper", "ours"]
        assert ours.groups >= max(greedy.groups, paper.groups)
        assert ours.cross_tor <= min(greedy.cross_tor, paper.cross_tor) + 1e-12
        assert 0 <= ours.cross_tor_of_all <= ours.cross_tor <= 1
        if ours.fault_ratio <= 0.07 and ours.job_scale == 0.85:
            assert ours.cross_tor_of_all <= 0.02


def test_points_that_two_sweeps_share_are_placed_once():
    assert sweeps([0.05], [0.85], 0.05) == [(0.05, 0.85)]
