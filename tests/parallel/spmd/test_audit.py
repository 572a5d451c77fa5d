"""The audit passes what may use a ring, names all else, and says what every link carries."""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.fabric.placement import place
from parallel.fabric.switchboard import Switchboard
from parallel.fabric.topology import KHopLine, KHopRing, gpu_order
from parallel.spmd import ring
from parallel.spmd.audit import Collective, Load, audit, foreign, loads, places, table, unlit
from parallel.spmd.mesh import AXES, Layout, make_mesh, stand_in

SHAPE = {"data": 2, "fsdp": 1, "tensor": 4}
RING_SENDS = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4))


def only(collective):
    """The row of a program for `SHAPE` that consists of one collective of 256 bytes."""
    (row,) = audit(
        "HloModule jit_f, is_scheduled=true, num_partitions=8\n\nENTRY %main.1_spmd (x: f32[64]) "
        "-> f32[64] {\n"
        f"  %x = f32[64]{{0}} parameter(0)\n  ROOT %y = f32[64]{{0}} {collective}\n}}\n",
        SHAPE,
    )
    return row


def sends(*pairs):
    written = ",".join(f"{{{a},{b}}}" for a, b in pairs)
    return only(f"collective-permute(%x), channel_id=1, source_target_pairs={{{written}}}")


def test_of_all_sends_between_two_devices_only_those_to_a_ring_neighbour_are_not_foreign():
    for a, b in itertools.permutations(range(8), 2):
        got = sends((a, b))
        data_a, rank_a, data_b, rank_b = *divmod(a, 4), *divmod(b, 4)
        over = tuple(
            axis
            for axis, differs in (("data", data_a != data_b), ("tensor", rank_a != rank_b))
            if differs
        )
        assert got.axes == over
        allowed = rank_a == rank_b or (data_a == data_b and (rank_b - rank_a) % 4 in (1, 3))
        assert foreign([got]) == ([] if allowed else [got]), (a, b)


def test_one_wrong_pair_among_many_right_ones_is_foreign():
    assert foreign([sends(*RING_SENDS)]) == []
    wrong = sends(*RING_SENDS[:-1], (7, 5))
    assert foreign([wrong]) == [wrong]


def test_a_device_that_sends_to_itself_communicates_with_nobody():
    got = sends((0, 0), (5, 5))
    assert (got.axes, got.bytes, got.pairs, foreign([got])) == ((), 0, (), [])


@pytest.mark.parametrize(
    "groups, is_foreign", [("[2,4]<=[8]", 1), ("[1,8]<=[8]", 1), ("[4,2]<=[2,4]T(1,0)", 0)]
)
def test_group_collectives_are_foreign_to_rings_and_at_home_between_them(groups, is_foreign):
    got = only(f"all-reduce(%x), channel_id=1, replica_groups={groups}")
    assert len(foreign([got])) == is_foreign


@pytest.mark.parametrize(
    "kind, sent",
    [
        ("all-gather", 3 * 256),
        ("all-reduce", 2 * 3 * 64),
        ("reduce-scatter", 3 * 64),
        ("all-to-all", 3 * 64),
        ("collective-broadcast", 256),
        ("ragged-all-to-all", 256),
    ],
)
def test_a_group_of_four_sends_what_the_best_algorithm_needs(kind, sent):
    got = only(f"{kind}(%x), channel_id=1, replica_groups=[2,4]<=[8]")
    assert got == Collective(kind, ("tensor",), sent, (), one_hop=False, count=1, open_loops=0)


def test_groups_of_one_send_nothing():
    got = only("all-gather(%x), channel_id=1, replica_groups=[8,1]<=[8]")
    assert (got.axes, got.bytes) == ((), 0)


def test_a_mesh_of_another_size_is_refused():
    text = compiled(lambda x: x, (1, 1, 4))
    with pytest.raises(
        ValueError,
        match=r"the program is for 4 devices, but a mesh of \{.*\} has 8; pass the shape",
    ):
        audit(text, SHAPE)


def compiled(f, shape):
    """`f` on one [8, 8] float32 block of every device of a mesh, compiled; its text."""
    mesh = stand_in(shape, jax.devices())
    run = jax.shard_map(
        lambda x: f(x[0])[None], mesh=mesh, in_specs=P(AXES), out_specs=P(AXES), check_vma=False
    )
    x = jax.ShapeDtypeStruct((mesh.size, 8, 8), jnp.float32, sharding=NamedSharding(mesh, P(AXES)))
    return jax.jit(run).lower(x).compile().as_text()


def rows_of(f, shape):
    return audit(compiled(f, shape), dict(zip(AXES, shape, strict=True)))


SHAPES = [(1, 1, 4), (2, 1, 4), (1, 2, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_ring_collectives_are_one_hop_sends_of_as_many_bytes_as_they_say(shape):
    gathered = rows_of(lambda x: ring.all_gather(x, "tensor", 0), shape)
    scattered = rows_of(lambda x: ring.reduce_scatter(x, "tensor", 0), shape)
    reduced = rows_of(lambda x: ring.all_reduce(x, "tensor"), shape)
    for rows, hops, sent in ((gathered, 3, 256), (scattered, 3, 64), (reduced, 6, 64)):
        assert foreign(rows) == []
        assert [(row.axes, row.one_hop, row.bytes, row.count) for row in rows] == [
            (("tensor",), True, sent, hops)
        ]
        assert len(rows[0].pairs) == shape[0] * shape[1] * 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "f, kind",
    [
        (lambda x: jax.lax.all_gather(x, "tensor"), "all-gather"),
        (lambda x: jax.lax.psum(x, ("data", "tensor")), "all-reduce"),
        (lambda x: jax.lax.psum_scatter(x, "tensor", tiled=True), "reduce-scatter"),
        (lambda x: jax.lax.all_to_all(x, "tensor", 0, 0, tiled=True), "all-to-all"),
        (
            lambda x: jax.lax.ppermute(x, "tensor", [(i, (i + 2) % 4) for i in range(4)]),
            "collective-permute",
        ),
    ],
)
def test_the_collectives_of_jax_are_foreign_to_a_ring(f, kind, shape):
    found = foreign(rows_of(f, shape))
    assert {row.kind for row in found} == {kind}
    assert all("tensor" in row.axes for row in found)


def test_collectives_between_rings_are_not_foreign():
    rows = rows_of(
        lambda x: jax.lax.psum(x, ("data", "fsdp")) + ring.all_reduce(x, "tensor"), (2, 2, 4)
    )
    assert foreign(rows) == []
    assert {row.axes for row in rows} == {("data", "fsdp"), ("tensor",)}


def test_collectives_that_the_compiler_places_by_itself_are_seen():
    mesh = stand_in((2, 2, 4), jax.devices())
    x = jax.ShapeDtypeStruct(
        (16, 16), jnp.float32, sharding=NamedSharding(mesh, P(("tensor", "data")))
    )
    text = (
        jax.jit(lambda x: 2 * x, out_shardings=NamedSharding(mesh, P()))
        .lower(x)
        .compile()
        .as_text()
    )
    (row,) = foreign(audit(text, dict(mesh.shape)))
    assert (row.kind, row.axes, row.bytes) == ("all-gather", ("data", "tensor"), 7 * 128)


def test_what_is_in_a_loop_counts_as_often_as_the_loop_runs_or_for_one_iteration():
    step = functools.partial(ring.all_reduce, axis="tensor")

    def scan(x):
        return jax.lax.scan(lambda c, _: (step(jnp.sin(c)), None), x, length=5)[0]

    def loop(x):
        return jax.lax.fori_loop(0, x[0, 0].astype(int), lambda _, c: scan(c), x)

    (known,), (open_ended,) = rows_of(scan, (1, 1, 4)), rows_of(loop, (1, 1, 4))
    assert (known.count, known.open_loops) == (5 * 6, 0)
    assert (open_ended.count, open_ended.open_loops) == (5 * 6, 1)


@functools.cache
def ring_program(data, tensor):
    return rows_of(lambda x: ring.all_reduce(x, "tensor"), (data, 1, tensor))


def placed(topology, failed, nodes_per_group, gpus_per_node):
    """The number of rings that are left, the places of a program on them, and the circuits."""
    groups = place(topology, failed, nodes_per_group).groups
    board = Switchboard(topology, gpus_per_node)
    board.apply(board.switch(groups, failed))
    where = [gpu for nodes in groups for gpu in gpu_order(topology, nodes, gpus_per_node)]
    return len(groups), where, board.circuits()


@pytest.mark.parametrize(
    "topology, gpus_per_node",
    [
        (KHopRing(num_nodes=8, hops=2), 2),
        (KHopLine(num_nodes=8, hops=2), 2),
        (KHopRing(num_nodes=5, hops=2), 3),
        (KHopLine(num_nodes=4, hops=3), 4),
    ],
)
def test_every_send_rides_a_live_circuit_whichever_nodes_have_failed(topology, gpus_per_node):
    nodes = range(topology.num_nodes)
    for alive in itertools.chain.from_iterable(itertools.combinations(nodes, n) for n in nodes[1:]):
        rings, where, circuits = placed(topology, set(nodes) - set(alive), 2, gpus_per_node)
        if rings:
            assert unlit(ring_program(rings, 2 * gpus_per_node), where, circuits) == [], alive


def test_dark_circuits_show():
    topology = KHopRing(num_nodes=8, hops=2)
    rings, where, _ = placed(topology, {3}, nodes_per_group=2, gpus_per_node=2)
    in_loopback = Switchboard(topology, gpus_per_node=2).circuits()
    sent = {(where[a], where[b]) for row in ring_program(rings, 4) for a, b in row.pairs}
    between_nodes = {pair for pair in sent if pair[0][0] != pair[1][0]}
    assert set(unlit(ring_program(rings, 4), where, in_loopback)) == between_nodes


def test_a_mesh_in_another_order_than_the_light_shows():
    rings, where, circuits = placed(
        KHopRing(num_nodes=8, hops=2), (), nodes_per_group=2, gpus_per_node=2
    )
    by_number = sorted(where)  # node after node, as if rings did not go out and back
    assert ((0, 1), (1, 0)) in unlit(ring_program(rings, 4), by_number, circuits)


def test_places_are_read_from_the_mesh():
    topology = KHopRing(num_nodes=8, hops=2)
    devices = {node: jax.devices()[2 * node : 2 * node + 2] for node in range(8)}
    groups = place(topology, {3}, 2).groups
    mesh = make_mesh(topology, groups, Layout(tensor=4), devices)
    assert places(mesh, devices) == [
        gpu for nodes in groups for gpu in gpu_order(topology, nodes, 2)
    ]


def test_links_carry_what_is_sent_over_them():
    once = Collective(
        "collective-permute", ("tensor",), 100, ((0, 1), (1, 0)), True, count=3, open_loops=0
    )
    repeated = Collective(
        "collective-permute", ("tensor",), 10, ((0, 1),), True, count=2, open_loops=1
    )
    elsewhere = Collective("all-reduce", ("data",), 1000, (), False, count=1, open_loops=0)
    got = loads([once, repeated, elsewhere], [(4, 0), (2, 1)])
    assert got == [Load((2, 1), (4, 0), 300, 0), Load((4, 0), (2, 1), 300, 20)]
    assert [line.split() for line in table(got).splitlines()[1:]] == [
        ["2.1", "4.0", "300", "0"],
        ["4.0", "2.1", "300", "20"],
    ]


def test_an_all_reduce_loads_every_link_of_its_rings_alike():
    rings, where, _ = placed(
        KHopRing(num_nodes=8, hops=2), {3, 4}, nodes_per_group=2, gpus_per_node=2
    )
    got = loads(ring_program(rings, 4), where)
    assert len(got) == 4 * rings
    assert {load.bytes for load in got} == {2 * 3 * 64}  # 2 (R - 1) hops of 1/R of 256 bytes
