"""A ring keeps its place, and so its colour, as long as it can."""

import itertools

from parallel.show.places import newly_lit, over_time, settle


def test_rings_keep_their_place():
    assert settle([(0, 1), (2, 3), (5, 6)], [(5, 6), (0, 1), (2, 4)]) == [(0, 1), (2, 4), (5, 6)]
    assert settle([(0, 1), ()], [(2, 3), (0, 1), (4, 5)]) == [(0, 1), (2, 3), (4, 5)]
    assert settle([], []) == []


def test_every_ring_has_one_place_whatever_was_there_before():
    """All sets of rings of six nodes, after all others."""
    pairs = list(itertools.combinations(range(6), 2))
    worlds = [
        chosen
        for size in range(4)
        for chosen in itertools.combinations(pairs, size)
        if len(set(itertools.chain(*chosen))) == 2 * size
    ]
    for before, after in itertools.product(worlds, worlds):
        settled = settle(before, after)
        assert sorted(filter(None, settled)) == sorted(after)
        assert len(settled) == max(len(before), len(after))
        for place, ring in enumerate(before):
            if ring in after:
                assert settled[place] == ring


def test_a_place_remembers_its_ring_while_it_is_empty():
    first, second, third = over_time([[(0, 1), (2, 3)], [(2, 3)], [(2, 3), (1, 4)]])
    assert first == [(0, 1), (2, 3)] and second == [(), (2, 3)] and third == [(1, 4), (2, 3)]


def test_only_new_circuits_glow():
    assert newly_lit([(0, 1, 2)], [(2, 1), (1, 3)]) == [(1, 3)]
    assert newly_lit([], [(0, 1, 2)]) == [(0, 1), (1, 2)]
