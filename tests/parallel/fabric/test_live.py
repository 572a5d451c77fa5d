"""A placement that follows one change at a time is as good as one that is made anew."""

import itertools

import pytest
from fabric_worlds import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel.fabric.live import LivePlacement
from parallel.fabric.placement import place, rearrange, rings_changed
from parallel.fabric.topology import KHopLine, KHopRing


@settings(max_examples=60)
@given(worlds(), st.lists(st.integers(0, 39), max_size=25))
def test_a_live_placement_does_what_rearranging_does(world, flips):
    topology, failed, m = world
    live = LivePlacement(topology, failed, m)
    before = live.placement()
    assert set(before.groups) == set(place(topology, failed, m).groups)
    for node in (flip % topology.num_nodes for flip in flips):
        change = live.back(node) if node in failed else live.lose(node)
        failed = failed ^ {node}
        after = live.placement()
        assert set(change.ended) == set(before.groups) - set(after.groups)
        assert set(change.formed) == set(after.groups) - set(before.groups)
        assert len(live) == len(after.groups) == len(place(topology, failed, m).groups)
        assert change.rings_changed == rings_changed(before, rearrange(before, topology, failed, m))
        before = after


@pytest.mark.parametrize("topology", [KHopLine(17, 2), KHopRing(17, 2), KHopRing(17, 3)], ids=str)
def test_any_two_losses_leave_the_most_groups(topology):
    for pair, m in itertools.product(itertools.permutations(range(0, 17, 2), 2), (3, 4)):
        live, failed = LivePlacement(topology, (), m), set()
        for node in pair:
            live.lose(node)
            failed.add(node)
            assert len(live) == len(place(topology, failed, m).groups)


@pytest.mark.parametrize("topology", [KHopLine(500, 2), KHopRing(500, 2)], ids=str)
def test_a_live_placement_sees_the_whole_of_a_long_segment(topology):
    failed = {400, 401}
    live, before = LivePlacement(topology, failed, 7), place(topology, failed, 7)
    for node in (250, 3, 251, 399, 60):
        failed.add(node)
        change, after = live.lose(node), rearrange(before, topology, failed, 7)
        assert change.rings_changed == rings_changed(before, after)
        before = live.placement()
        assert len(before.groups) == len(after.groups)


@settings(max_examples=60)
@given(worlds(), st.integers(0, 39))
def test_a_node_that_goes_and_comes_back_leaves_the_same_number_of_rings(world, node):
    topology, failed, m = world
    node %= topology.num_nodes
    live = LivePlacement(topology, failed - {node}, m)
    groups = len(live)
    live.lose(node)
    live.back(node)
    assert len(live) == groups


def test_a_live_placement_refuses_what_cannot_happen():
    live = LivePlacement(KHopLine(4, 1), {2}, 1)
    for act, node, message in [
        (live.lose, 2, "node 2 is lost already"),
        (live.back, 1, "node 1 is there already"),
        (live.lose, 4, "there is no node 4: nodes are 0 to 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            act(node)


def test_a_ring_that_ended_leaves_nothing_behind():
    """Every node is in the ring that its row says, whatever was lost and came back."""
    live = LivePlacement(KHopLine(9, 2), (), 2)
    for act, node in [
        (live.lose, 1),
        (live.lose, 4),
        (live.back, 1),
        (live.lose, 0),
        (live.back, 4),
    ]:
        act(node)
        groups = live.placement().groups
        for other, row in enumerate(live.row_of.tolist()):
            assert (row >= 0) == any(other in group for group in groups)
            assert row < 0 or other in live.rings[row].tolist()
