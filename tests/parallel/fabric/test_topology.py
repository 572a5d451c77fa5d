"""Who reaches whom, on every ring and line small enough to try completely."""

import itertools

import pytest

from parallel.fabric.topology import KHopLine, KHopRing, bundle_position, gpu_order, ring_order


def small_fabrics(largest: int, hops: int = 3):
    """Every ring and line of up to `largest` nodes."""
    for num_nodes in range(1, largest + 1):
        for reach in range(1, hops + 1):
            yield KHopLine(num_nodes, reach)
            if reach <= (num_nodes - 1) // 2:
                yield KHopRing(num_nodes, reach)


def failure_sets(num_nodes: int):
    for count in range(num_nodes + 1):
        yield from map(frozenset, itertools.combinations(range(num_nodes), count))


def segments_ref(topology, failed) -> set[frozenset[int]]:
    """Connected components, by flooding."""
    left = set(range(topology.num_nodes)) - failed
    found = set()
    while left:
        flood = [left.pop()]
        for node in flood:
            near = {other for other in left if topology.reaches(node, other)}
            left -= near
            flood.extend(near)
        found.add(frozenset(flood))
    return found


def test_segments_are_the_connected_components_of_every_small_fabric():
    for topology in small_fabrics(9):
        for failed in failure_sets(topology.num_nodes):
            segments = topology.segments(failed)
            assert set(map(frozenset, segments)) == segments_ref(topology, failed)
            for walk in segments:
                assert all(topology.reaches(a, b) for a, b in itertools.pairwise(walk))


def test_every_fibre_has_a_port_of_its_own_at_both_ends():
    for topology in small_fabrics(12):
        for a in range(topology.num_nodes):
            near = [b for b in range(topology.num_nodes) if topology.reaches(a, b)]
            ports = [topology.port(a, b) for b in near]
            assert len(set(ports)) == len(ports)
            assert [topology.peer(a, port) for port in ports] == near
            assert all(port.bundle < topology.num_bundles for port in ports)


@pytest.mark.parametrize("gpus_per_node", [2, 3, 4, 5, 8])
def test_bundles_sit_at_positions_of_their_own(gpus_per_node):
    positions = [bundle_position(bundle, gpus_per_node) for bundle in range(gpus_per_node)]
    assert sorted(positions) == list(range(gpus_per_node))


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("gpus_per_node", [2, 3, 4, 8])
def test_gpu_order_of_short_hops_is_out_one_half_and_back_the_other(hops, gpus_per_node):
    for nodes in ([4], [0, 1], [0, hops, hops + 1], [3, 4, 5, 6, 6 + hops]):
        assert gpu_order(KHopLine(12, hops), nodes, gpus_per_node) == ring_order(
            nodes, gpus_per_node
        )


def test_nodes_of_one_gpu_form_no_ring_of_several():
    assert ring_order([7], gpus_per_node=1) == [(7, 0)]
    with pytest.raises(
        ValueError, match="need a GPU each in every node, so take nodes of at least 2"
    ):
        ring_order([0, 1], gpus_per_node=1)


@pytest.mark.parametrize("num_nodes, hops", [(2, 1), (9, 5), (9, 0), (4, 2)])
def test_a_ring_refuses_wires_that_do_not_fit(num_nodes, hops):
    with pytest.raises(
        ValueError, match=f"hops={hops} does not fit a ring of num_nodes={num_nodes}"
    ):
        KHopRing(num_nodes, hops)


def test_nonsense_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="failed node 9 does not exist: nodes are 0 to 8"):
        KHopRing(9, 2).segments({3, 9})
    with pytest.raises(ValueError, match="both must be at least 1"):
        KHopLine(0, 1)
    with pytest.raises(
        ValueError, match="no fibre joins nodes 0 and 3: a wire reaches 2 nodes far"
    ):
        KHopLine(9, 2).port(0, 3)
