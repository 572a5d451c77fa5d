import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic.snapshot import keep, keepers, replicas
from parallel.spmd.mesh import AXES, FSDP, TENSOR

GPUS = 2
NODES = 8


def node_of(device: jax.Device) -> int:
    return device.id // GPUS


def devices_of_nodes() -> dict[int, list[jax.Device]]:
    return {node: jax.devices()[node * GPUS : (node + 1) * GPUS] for node in range(NODES)}


def on_mesh(array: np.ndarray, shape: tuple[int, int, int], spec: P) -> jax.Array:
    mesh = Mesh(
        np.array(jax.devices()).reshape(shape),
        AXES,
        axis_types=(AxisType.Auto,) * 3,
    )
    return jax.device_put(array, NamedSharding(mesh, spec))


@st.composite
def rings(draw) -> list[list[int]]:
    """Nodes in any order, cut into rings of any sizes."""
    nodes = draw(st.permutations(range(draw(st.integers(1, 12)))))
    cuts = sorted(draw(st.sets(st.integers(1, len(nodes)))) | {0, len(nodes)})
    return [nodes[start:stop] for start, stop in zip(cuts, cuts[1:], strict=False)]


@given(rings())
def test_a_keeper_is_another_node_and_a_ring_neighbour_where_there_is_one(groups):
    found = keepers(groups)
    for ring in groups:
        for at, node in enumerate(ring):
            if len(ring) > 1:
                assert found[node] in {ring[i] for i in (at - 1, at + 1) if 0 <= i < len(ring)}
            elif len(groups) > 1:
                assert found[node] != node
            else:
                assert node not in found


@given(rings())
def test_nobody_keeps_for_more_than_two_where_rings_have_neighbours(groups):
    found = keepers([ring for ring in groups if len(ring) > 1])
    assert all(list(found.values()).count(node) <= 2 for node in found)


@pytest.mark.parametrize(
    ("shape", "spec", "least"),
    [
        ((4, 2, 2), P(FSDP, TENSOR), 4),
        ((2, 4, 2), P(FSDP, TENSOR), 2),
        ((1, 8, 2), P(FSDP, TENSOR), 1),
        ((1, 8, 2), P(), 8),
        ((8, 1, 2), P(None, TENSOR), 8),
        ((1, 8, 2), P(FSDP), 1),  # two devices of one node hold the same rows
    ],
)
def test_replicas_counts_nodes_not_devices(shape, spec, least):
    assert replicas({"w": on_mesh(np.zeros((16, 4)), shape, spec)}, node_of) == least


def test_replicas_is_that_of_the_worst_leaf():
    tree = {
        "w": on_mesh(np.zeros((16, 4)), (1, 8, 2), P(FSDP, TENSOR)),
        "step": on_mesh(np.zeros(()), (1, 8, 2), P()),
    }
    assert replicas(tree, node_of) == 1


def test_a_snapshot_lies_on_the_same_gpu_of_the_keeper():
    values = np.arange(64.0).reshape(16, 4)
    tree = {"w": on_mesh(values, (1, 8, 2), P(FSDP, TENSOR))}
    keeper_of = keepers([range(NODES)])
    snapshot = keep(tree, keeper_of, devices_of_nodes(), step=7)
    assert snapshot.step == 7
    for shard in tree["w"].addressable_shards:
        box = tuple(
            side.indices(size)[:2] for side, size in zip(shard.index, values.shape, strict=True)
        )
        copy = snapshot.copies[0][box]
        assert (
            copy.device
            == jax.devices()[keeper_of[node_of(shard.device)] * GPUS + shard.device.id % GPUS]
        )
        np.testing.assert_array_equal(copy, values[shard.index])


def test_nothing_is_copied_where_a_replica_lives():
    tree = {
        "w": on_mesh(np.zeros((16, 4)), (2, 4, 2), P(FSDP, TENSOR)),
        "step": on_mesh(np.zeros(()), (1, 8, 2), P()),
    }
    assert keep(tree, keepers([range(NODES)]), devices_of_nodes(), step=0).copies == ({}, {})


def test_rows_that_two_devices_of_one_node_share_are_copied_once():
    tree = [on_mesh(np.zeros((16, 4)), (1, 8, 2), P(FSDP))]
    assert len(keep(tree, keepers([range(NODES)]), devices_of_nodes(), step=0).copies[0]) == NODES


def test_a_snapshot_serves_only_the_arrays_it_was_taken_of():
    old, new = ([on_mesh(np.full((16, 4), fill), (1, 8, 2), P(FSDP))] for fill in (1.0, 2.0))
    snapshot = keep(old, keepers([range(NODES)]), devices_of_nodes(), step=3)
    assert snapshot.copies_of(old) is snapshot.copies
    with pytest.raises(AssertionError, match="the snapshot of step 3 was taken of other arrays"):
        snapshot.copies_of(new)


def test_a_snapshot_does_not_keep_its_arrays_alive():
    tree = [on_mesh(np.zeros((16, 4)), (1, 8, 2), P(FSDP))]
    snapshot = keep(tree, keepers([range(NODES)]), devices_of_nodes(), step=3)
    del tree
    assert snapshot.leaves[0]() is None
