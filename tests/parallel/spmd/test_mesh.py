"""The mesh's axes are the fabric's rings, and its shape is what the healthy groups allow."""

import itertools

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType

from parallel.fabric.placement import place
from parallel.fabric.switchboard import Switchboard
from parallel.fabric.topology import KHopLine, KHopRing
from parallel.spmd.mesh import (
    AXES,
    DATA,
    FSDP,
    Layout,
    device_groups,
    make_mesh,
    num_rings,
    stand_in,
)

SMALL = [
    (KHopRing(num_nodes=8, hops=2), 2),
    (KHopLine(num_nodes=8, hops=2), 2),
    (KHopRing(num_nodes=8, hops=1), 2),
    (KHopRing(num_nodes=5, hops=2), 3),
    (KHopLine(num_nodes=5, hops=3), 3),
    (KHopLine(num_nodes=4, hops=3), 4),
]


def devices_of(topology, gpus_per_node):
    return {
        n: jax.devices()[n * gpus_per_node :][:gpus_per_node] for n in range(topology.num_nodes)
    }


def failure_sets(topology):
    nodes = range(topology.num_nodes)
    return map(set, itertools.chain.from_iterable(itertools.combinations(nodes, n) for n in nodes))


@pytest.mark.parametrize("topology, gpus_per_node", SMALL)
def test_light_passes_the_devices_of_every_ring_in_the_order_of_the_tensor_axis(
    topology, gpus_per_node
):
    devices = devices_of(topology, gpus_per_node)
    place_of = {
        device: (node, gpu) for node, its in devices.items() for gpu, device in enumerate(its)
    }
    for failed, nodes_per_group in itertools.product(failure_sets(topology), (1, 2, 3)):
        groups = place(topology, failed, nodes_per_group).groups
        board = Switchboard(topology, gpus_per_node)
        board.apply(board.switch(groups, failed))
        for fsdp in (1, 2, 3) if groups else ():
            mesh = make_mesh(
                topology, groups, Layout(nodes_per_group * gpus_per_node, fsdp), devices
            )
            for ring in mesh.devices.reshape(-1, mesh.shape["tensor"]):
                passed = [place_of[device] for device in ring]
                assert board.walk(passed[0]) == passed, (failed, nodes_per_group)


@pytest.mark.parametrize("topology, gpus_per_node", SMALL)
def test_groups_fill_the_mesh_in_the_order_of_the_placement_and_the_rest_stay_idle(
    topology, gpus_per_node
):
    devices = devices_of(topology, gpus_per_node)
    groups = place(topology, (), 1).groups
    for tensor, fsdp in itertools.product((1, gpus_per_node), (1, 2, 3, 4)):
        layout = Layout(tensor, fsdp)
        rings = device_groups(topology, groups, layout, devices)
        assert len(rings) == len(groups) * gpus_per_node // tensor
        mesh = make_mesh(topology, groups, layout, devices)
        assert mesh.shape == layout.sizes(len(rings))
        used = mesh.shape["data"] * mesh.shape["fsdp"]
        assert mesh.devices.reshape(used, tensor).tolist() == rings[:used]


def test_without_tensor_parallelism_every_device_is_a_group_of_its_own():
    topology = KHopLine(num_nodes=4, hops=1)
    mesh = make_mesh(
        topology, ((0,), (1,), (3,)), Layout(tensor=1, fsdp=2), devices_of(topology, 2)
    )
    assert mesh.devices.shape == (3, 2, 1)
    assert [device.id for device in mesh.devices.flat] == [0, 1, 2, 3, 6, 7]


def test_axes_are_automatic_and_have_their_names():
    mesh = stand_in((2, 2, 4), jax.devices())
    assert (mesh.axis_names, dict(mesh.shape)) == (AXES, {"data": 2, "fsdp": 2, "tensor": 4})
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_the_rings_of_a_mesh_are_counted_and_not_their_devices():
    assert [num_rings(stand_in(s, jax.devices())) for s in ((2, 2, 4), (3, 1, 2))] == [4, 3]


def test_a_stand_in_takes_the_first_devices():
    assert stand_in((1, 2, 3), jax.devices()).devices.ravel().tolist() == jax.devices()[:6]


sizes = st.integers(1, 40)


@given(tensor=sizes, fsdp=sizes, groups=sizes)
def test_fsdp_is_the_largest_divisor_that_the_groups_allow(tensor, fsdp, groups):
    data, got, same = Layout(tensor, fsdp).sizes(groups).values()
    assert same == tensor
    assert got == max(f for f in range(1, fsdp + 1) if fsdp % f == 0 and f <= groups)
    assert data * got <= groups < (data + 1) * got, "fewer groups are idle than one row takes"


@given(fsdp=sizes, groups=sizes)
def test_one_more_group_never_makes_a_mesh_smaller(fsdp, groups):
    fewer, more = (Layout(4, fsdp).sizes(n) for n in (groups, groups + 1))
    assert fewer[DATA] * fewer[FSDP] <= more[DATA] * more[FSDP]
    assert fewer[FSDP] <= more[FSDP]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Layout(tensor=0), "tensor=0, fsdp=1: every axis needs a size of at least 1"),
        (lambda: Layout(tensor=4, fsdp=0), "tensor=4, fsdp=0: every axis needs"),
        (
            lambda: Layout(tensor=6).nodes_per_group(4),
            "tensor=6 cannot be formed from nodes of 4 GPUs: a ring takes whole nodes; use 1 or a "
            "multiple of 4",
        ),
        (lambda: Layout(tensor=4).sizes(0), "no group of tensor=4 is left to make a mesh of"),
    ],
)
def test_layouts_that_cannot_be_are_refused_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "tensor, gpus_per_node, nodes", [(1, 4, 1), (4, 4, 1), (8, 4, 2), (16, 2, 8)]
)
def test_a_ring_spans_as_many_nodes_as_it_needs(tensor, gpus_per_node, nodes):
    assert Layout(tensor).nodes_per_group(gpus_per_node) == nodes
