"""The switchboard: every ring it accepts is lit, lane by lane, exactly as the ring says."""

import pytest

from parallel.fabric.switchboard import CONTROL_SECONDS, SWITCH_SECONDS, Switchboard
from parallel.fabric.topology import KHopLine, KHopRing, gpu_order
from parallel.fabric.transceiver import OCSTRX_PER_BUNDLE


def board_of(topology=None, gpus_per_node=4) -> Switchboard:
    return Switchboard(topology or KHopRing(9, 2), gpus_per_node)


@pytest.mark.parametrize("gpus_per_node", [2, 3, 4, 8])
def test_every_lane_walks_the_ring(gpus_per_node):
    board = board_of(gpus_per_node=gpus_per_node)
    rings = [(8, 0, 2), (3, 4), (5,)]
    board.apply(board.switch(rings, failed={1}))
    for ring in rings:
        order = gpu_order(board.topology, ring, gpus_per_node)
        for module in range(OCSTRX_PER_BUNDLE):
            assert board.walk(order[0], module) == order
    orders = [gpu_order(board.topology, ring, gpus_per_node) for ring in (*rings, (6,), (7,))]
    neighbours = {
        (a, b) for order in orders for a, b in zip(order, order[1:] + order[:1], strict=True)
    }
    assert {(circuit.a, circuit.b) for circuit in board.circuits()} == neighbours
    assert {circuit.lanes for circuit in board.circuits()} == {32}


def test_a_second_switch_to_the_same_rings_needs_no_command():
    board = board_of()
    first = board.apply(board.switch([(0, 1, 2)]))
    assert len(first.commands) == 4 and first.seconds == SWITCH_SECONDS + CONTROL_SECONDS
    assert board.switch([(0, 1, 2)]).commands == () and board.switch([(0, 1, 2)]).seconds == 0


def test_only_bundles_whose_path_changes_are_commanded():
    board = board_of()
    board.apply(board.switch([(0, 1, 2), (4, 5, 6)]))
    switching = board.switch([(0, 1, 2), (4, 6)], failed={5})
    assert [tuple(command) for command in switching.commands] == [
        (4, 0, "backup"),
        (6, 1, "backup"),
    ]


def test_preloaded_rings_wait_for_no_controller():
    board = board_of()
    board.preload([(0, 1, 3)])
    assert board.switch([(0, 1, 3)], failed={2}).seconds == SWITCH_SECONDS
    assert board.switch([(0, 1, 3), (4, 5)], failed={2}).seconds == SWITCH_SECONDS + CONTROL_SECONDS


def test_what_the_wiring_cannot_do_is_refused():
    board = board_of(KHopLine(9, 3))
    for rings, failed, message in [
        ([(0, 3, 6)], (), "ring (0, 3, 6) wants bundle 2 of node 3 twice"),
        ([(0, 1, 0)], (), "ring (0, 1, 0): node 0 is already in a ring; leave it out."),
        ([(0, 1), (1, 2)], (), "ring (1, 2): node 1 is already in a ring; leave it out."),
        ([(0, 1)], {1}, "ring (0, 1): node 1 has failed; leave it out."),
        ([(0, 9)], (), "ring (0, 9): node 9 does not exist."),
        ([(0, 1)], {12}, "failed node 12 does not exist: nodes are 0 to 8."),
        ([(0, 4)], (), "no fibre joins nodes 0 and 4: a wire reaches 3 nodes far."),
    ]:
        with pytest.raises(ValueError) as error:
            board.switch(rings, failed)
        assert str(error.value).startswith(message)


def test_hops_need_bundles_and_bundles_need_gpus():
    with pytest.raises(ValueError, match="hops=3 needs 3 OCSTrx bundles in a node.*room for 2"):
        Switchboard(KHopRing(9, 3), gpus_per_node=2)
    Switchboard(KHopRing(9, 1), gpus_per_node=2)


def test_a_dead_or_stuck_ocstrx_keeps_its_node_from_rings_that_need_it():
    board = board_of()
    board.kill(3, bundle=0, module=5)
    with pytest.raises(
        ValueError, match="OCSTrx 5 of bundle 0 of node 3 is dead and cannot take the path main"
    ):
        board.switch([(3, 4)])
    assert board.switch([(4, 5)]).commands
    board.mend(3, bundle=0, module=5)
    board.stick(3, bundle=0, module=5)
    board.apply(board.switch([(2, 3)]))
    with pytest.raises(
        ValueError, match="OCSTrx 5 of bundle 0 of node 3 is stuck and cannot take the path main"
    ):
        board.switch([(3, 4)])


def test_a_cut_fibre_is_gone_round():
    board = board_of()
    board.cut(3, 4)
    with pytest.raises(
        ValueError, match=r"ring \(3, 4\): the fibre between nodes 3 and 4 is cut; go round it"
    ):
        board.switch([(3, 4)])
    board.apply(board.switch([(3, 5)]))
    assert len(board.walk((3, 0))) == 8
    board.cut(3, 5)
    assert board.walk((3, 0)) == [(3, 0), (3, 1)]  # light is lost
    board.splice(3, 4)
    assert board.switch([(3, 4)]).commands
