"""Where nodes, wires and rings run."""

import numpy as np
import pytest

from parallel.show.lanes import CIRCLE_UP_TO, LANE, lanes


@pytest.mark.parametrize("num_nodes", [2, 6, 9, CIRCLE_UP_TO, CIRCLE_UP_TO + 1, 60, 100])
@pytest.mark.parametrize("wraps", [True, False])
def test_nodes_of_any_fabric_stand_apart(num_nodes, wraps):
    way = lanes(num_nodes, gpus_per_node=4, hops=2, wraps=wraps)
    places = way.track.at(np.arange(num_nodes))
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(num_nodes)
    assert distance.min() > 60


@pytest.mark.parametrize("nodes", [[3], [0, 1, 3], [7, 0, 2], [4, 3, 1]])
@pytest.mark.parametrize("gpus", [2, 3, 4, 8])
def test_a_ring_is_one_line_through_the_middle_of_all_its_gpus(nodes, gpus):
    way = lanes(8, gpus, hops=2, wraps=True)
    points = way.track.at(*way.ring(nodes))
    dots = np.concatenate([way.dots(node) for node in nodes])
    start, end = points, np.roll(points, -1, axis=0)
    along = end - start
    length = np.maximum((along**2).sum(1), 1e-12)
    t = (((dots[:, None] - start) * along).sum(-1) / length).clip(0, 1)
    distance = np.linalg.norm(start + t[..., None] * along - dots[:, None], axis=-1).min(1)
    assert distance.max() < LANE / 4


def test_a_wire_rises_only_where_it_passes_a_node():
    way = lanes(9, 4, hops=3, wraps=True)
    heights = [way.wire(0, ahead)[1].max() for ahead in (1, 2, 3)]
    assert heights[0] == 0 and heights[0] < heights[1] < heights[2]
    np.testing.assert_allclose(way.wire(0, -2)[1], way.wire(0, 2)[1])


def test_the_short_way_round_is_taken():
    way = lanes(8, 4, hops=2, wraps=True)
    assert [way.ahead(7, 0), way.ahead(0, 7), way.ahead(6, 0)] == [1, -1, 2]
    assert way.places([6, 0, 1]) == [6, 8, 9]


def test_node_0_of_a_ring_stands_at_the_top_and_a_line_leaves_its_gap_at_the_bottom():
    ring = lanes(8, 4, hops=2, wraps=True).track.at(np.arange(8))
    assert ring[:, 1].argmin() == 0 and abs(ring[0, 0]) < 1 and ring[2, 0] > 50
    line = lanes(8, 4, hops=2, wraps=False).track.at(np.arange(8))
    np.testing.assert_allclose(line[0, 1], line[7, 1], atol=1)
    assert line[0, 1] == pytest.approx(line[:, 1].max(), abs=1)
