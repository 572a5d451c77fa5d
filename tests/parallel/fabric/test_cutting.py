"""The worked example of the file holds, and pieces are cut where it says."""

import numpy as np

from parallel.fabric.cutting import cut, first_fit, pieces, pivots, walk_of
from parallel.fabric.topology import KHopLine, KHopRing


def rings_after(line: KHopLine, failed: set[int], rings: list[tuple[int, ...]]):
    """The rings that stay, by number, and the rings that are formed."""
    ring_of = np.full(line.num_nodes, -1)
    for number, ring in enumerate(rings):
        ring_of[list(ring)] = number
    found = cut(line, walk_of(line, *line.walk(failed), ring_of), 3)
    return found.stay.tolist(), found.formed.tolist()


def test_the_worked_example():
    line, a, b, d = KHopLine(11, 2), (0, 1, 2), (4, 5, 6), (8, 9, 10)
    assert rings_after(line, set(), [a, b, d]) == ([0, 1, 2], [])
    assert rings_after(line, {1}, [a, b, d]) == ([1, 2], [[0, 2, 3]])
    e = (0, 2, 3)
    assert rings_after(line, {1, 0}, [e, b, d]) == ([2], [[2, 3, 4], [5, 6, 7]])


def test_rings_of_one_phase_stay_and_a_phase_that_falls_does_not():
    line = KHopLine(13, 2)  # w = 1
    assert rings_after(line, set(), [(0, 1, 2), (3, 4, 5), (7, 8, 9)])[0] == [0, 1, 2]
    assert rings_after(line, set(), [(1, 2, 3), (4, 5, 6), (9, 10, 11)])[0] == [0, 1]


def test_a_ring_with_a_spare_node_inside_leaves_with_a_higher_phase():
    assert rings_after(KHopLine(7, 2), set(), [(0, 1, 3), (4, 5, 6)])[0] == [0, 1]
    assert rings_after(KHopLine(6, 2), set(), [(0, 1, 3)]) == ([], [[0, 1, 2], [3, 4, 5]])  # w = 0


def test_spare_nodes_lie_between_the_groups_or_behind_them_where_asked():
    line = KHopLine(11, 2)
    walk = walk_of(line, *line.walk(()))
    assert cut(line, walk, 3).formed.tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]
    assert first_fit(line, walk, 3).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_pivot_ends_a_piece():
    line = KHopLine(9, 3)
    walk = walk_of(line, *line.walk({1, 2, 4, 5, 8}))  # 0, 3, 6, 7
    assert pivots(line, walk).tolist() == [1]  # node 3, between 0 and 6
    assert pieces(line, walk, 2).tolist() == [0, 2]  # 0 3 | 6 7 and not 0 | 3 6 7
    assert pieces(line, walk, 3).tolist() == [0, 1]  # 0 | 3 6 7
    assert pivots(KHopLine(9, 2), walk_of(KHopLine(9, 2), *KHopLine(9, 2).walk(()))).size == 0


def test_a_circle_is_opened_where_it_holds_the_most():
    ring = KHopRing(9, 2)
    ring_of = np.array([0, -1, -1, -1, -1, -1, -1, 0, 0])  # (7, 8, 0)
    found = cut(ring, walk_of(ring, *ring.walk(()), ring_of), 3)
    assert found.stay.tolist() == [0] and found.formed.tolist() == [[1, 2, 3], [4, 5, 6]]
