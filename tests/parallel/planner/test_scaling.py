"""Placement at size: every row is one fabric, and a million nodes are one list of sizes away."""

import pytest

from parallel.fabric.placement import place
from parallel.fabric.topology import KHopRing
from parallel.fabric.trace import iid_faults
from parallel.planner.scaling import placement_time, seconds, sizes
from parallel.planner.worlds import generator


def test_rows_say_what_was_placed_and_what_it_took():
    rows = placement_time(4000, 4, 32, hops=2, fault_ratio=0.05, seed=7)
    assert [row.num_nodes for row in rows] == [1000, 3000, 4000]
    for row in rows:
        alive = iid_faults(row.num_nodes, 0.05, 1, generator(7, row.num_nodes))[0]
        assert row.groups == len(place(KHopRing(row.num_nodes, 2), (~alive).nonzero()[0], 8).groups)
        assert 0 < row.seconds_incremental <= row.seconds_incremental_worst
        assert 0 < row.rings_changed <= row.rings_changed_worst <= row.groups


def test_small_fabrics_have_one_row():
    assert sizes(64) == [64] and sizes(1000) == [1000]
    assert len(placement_time(64, 4, 16, hops=3, fault_ratio=0.0, seed=0)) == 1
    assert seconds(lambda: None) < 0.01


def test_tensor_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="tensor=6 GPUs do not fit nodes of gpus_per_node=4"):
        placement_time(1000, 4, 6, 2, 0.0, 0)


def test_a_fabric_without_a_healthy_node_is_refused():
    with pytest.raises(ValueError, match="leaves none of 1000 nodes to lose"):
        placement_time(1000, 4, 32, 2, 1.0, 0)
