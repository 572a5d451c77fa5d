"""One broken part is gone round: every fibre and every OCSTrx of every small world, against brute
force.
"""

import itertools

import pytest

from parallel.fabric.detour import Damage, place_around
from parallel.fabric.placement import place
from parallel.fabric.switchboard import Switchboard
from parallel.fabric.topology import KHopLine, KHopRing, gpu_order
from parallel.fabric.transceiver import PATHS


def most_groups_ref(topology, damage: Damage, m: int) -> int:
    """Tries every ring, forwards and backwards, with every other."""
    rings: set[frozenset[int]] = set()

    def grow(path: list[int]) -> None:
        before = path[-2] if len(path) > 1 else None
        if len(path) == m:
            if damage.allows(topology, path[-1], before, None):
                rings.add(frozenset(path))
            return
        for node in set(range(topology.num_nodes)) - set(path):
            if topology.reaches(path[-1], node) and damage.allows(topology, path[-1], before, node):
                grow([*path, node])

    def most(free: frozenset[int]) -> int:
        if len(free) < m:
            return 0
        lowest = min(free)
        taken = [1 + most(free - ring) for ring in rings if lowest in ring and ring <= free]
        return max([most(free - {lowest}), *taken])

    for node in range(topology.num_nodes):
        grow([node])
    return most(frozenset(range(topology.num_nodes)))


def broken_boards(topology, gpus_per_node: int):
    """The fabric with one part broken, in every way."""
    for a, b in itertools.combinations(range(topology.num_nodes), 2):
        if topology.reaches(a, b):
            board = Switchboard(topology, gpus_per_node)
            board.cut(a, b)
            yield board
    for node, bundle in itertools.product(range(topology.num_nodes), range(topology.num_bundles)):
        board = Switchboard(topology, gpus_per_node)
        board.kill(node, bundle, module=3)
        yield board
        for path in range(len(PATHS)):
            board = Switchboard(topology, gpus_per_node)
            board.paths[node, bundle, 3] = path
            board.stick(node, bundle, module=3)
            yield board


@pytest.mark.parametrize(
    "topology", [KHopLine(6, 1), KHopLine(7, 2), KHopRing(6, 2), KHopRing(7, 2)], ids=str
)
def test_one_broken_part_costs_no_more_groups_than_it_must(topology):
    for board, m in itertools.product(broken_boards(topology, gpus_per_node=2), (2, 3)):
        damage = board.damage()
        groups = place_around(damage, topology, (), m).groups
        assert len(groups) == most_groups_ref(topology, damage, m), (damage, m)
        check_lit(board, groups)


@pytest.mark.parametrize("topology", [KHopLine(7, 3), KHopRing(7, 3)], ids=str)
def test_shared_bundles_are_gone_round_too(topology):
    for board in itertools.islice(broken_boards(topology, gpus_per_node=4), 0, None, 5):
        check_lit(board, place_around(board.damage(), topology, (), 3).groups)


def check_lit(board: Switchboard, groups) -> None:
    board.apply(board.switch(groups))
    for group in groups:
        order = gpu_order(board.topology, group, board.gpus_per_node)
        assert all(board.walk(order[0], module) == order for module in range(8))


def test_far_from_the_damage_nothing_is_searched():
    line = KHopLine(num_nodes=4000, hops=2)
    damage = Damage(fibres=frozenset({frozenset({2000, 2001})}))
    groups = place_around(damage, line, failed={5, 3000}, nodes_per_group=4).groups
    used = sorted(node for group in groups for node in group)
    assert len(groups) == 3998 // 4 and len(set(used)) == len(used)
    assert not any(
        {2000, 2001} <= set(group) and abs(group.index(2000) - group.index(2001)) == 1
        for group in groups
    )


def test_a_whole_fabric_is_placed_as_ever():
    ring = KHopRing(num_nodes=11, hops=2)
    assert place_around(Damage(), ring, {3, 4}, 2) == place(ring, {3, 4}, 2)


def test_a_dead_ocstrx_takes_its_node_out_and_a_cut_fibre_does_not():
    line = KHopLine(num_nodes=4, hops=2)
    dead = Damage(paths={(1, 0): frozenset()})
    assert place_around(dead, line, (), 2).groups == ((0, 2),)
    cut = Damage(fibres=frozenset({frozenset({1, 2})}))
    assert len(place_around(cut, line, (), 2).groups) == 2
