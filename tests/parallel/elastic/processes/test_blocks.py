import functools
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic.processes.blocks import Blocks, Scattered, holders
from parallel.elastic.processes.exchange import BlockServer, fetch
from parallel.elastic.recovery import StateLost, compose, cover
from parallel.elastic.snapshot import boxes, keepers
from parallel.spmd.mesh import AXES, DATA, FSDP, TENSOR

NODES, GPUS = 6, 2
KEY = b"known to the nodes"
SPECS = [P(), P(TENSOR), P(FSDP, TENSOR), P((FSDP, TENSOR)), P(None, FSDP), P(DATA)]
SHAPES = [(), (0,), (12,), (12, 24), (24, 12, 1), (0, 12)]  # divisible by every mesh below
ask = functools.partial(fetch, authkey=KEY, limit_s=10)


def devices_of(nodes) -> list[jax.Device]:
    return [device for node in nodes for device in jax.devices()[node * GPUS : (node + 1) * GPUS]]


def mesh_on(nodes, fsdp: int, tensor: int) -> Mesh:
    devices = np.array(devices_of(nodes)).reshape(-1, fsdp, tensor)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 3)


def at(box) -> tuple[slice, ...]:
    return tuple(slice(*side) for side in box)


def same_bits(got, want) -> bool:
    got, want = np.asarray(got), np.asarray(want)
    return (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes())


def shapes_of(values):
    return jax.tree.map(lambda value: jax.ShapeDtypeStruct(value.shape, value.dtype), values)


def boxes_on(node: int, values, shardings) -> list[set]:
    devices = devices_of([node])
    return [
        {box for device, box in boxes(shardings[name], value.shape).items() if device in devices}
        for name, value in values.items()
    ]


def lost_ref(values, held: list[Blocks]) -> bool:
    """Paints every element that someone holds."""
    for leaf, value in enumerate(values.values()):
        painted = np.zeros(value.shape, bool)
        for blocks in held:
            for box in blocks.leaves[leaf]:
                painted[at(box)] = True
        if not painted.all():
            return True
    return False


@pytest.fixture(scope="module")
def servers():
    found = [BlockServer(KEY) for _ in range(NODES)]
    yield found
    for server in found:
        server.close()


@st.composite
def meshes(draw, nodes: list[int]) -> Mesh:
    count = draw(st.sampled_from([n for n in (1, 2, 3, 6) if n <= len(nodes)]))
    sizes = [n for n in (1, 2, 3, 4, 6, 12) if (count * GPUS) % n == 0]
    fsdp = draw(st.sampled_from(sizes))
    tensor = draw(st.sampled_from([n for n in sizes if (count * GPUS) % (fsdp * n) == 0]))
    return mesh_on(draw(st.permutations(nodes))[:count], fsdp, tensor)


@st.composite
def scenes(draw):
    """Arrays and how they are laid out, nodes that are lost, and a mesh for after that.

    A node that is lost can be in the mesh after it: it was started anew.
    """
    lost = draw(st.sets(st.integers(0, NODES - 1), max_size=4))
    fits = [(shape, spec) for shape in SHAPES for spec in SPECS if len(spec) <= len(shape)]
    dtypes = st.sampled_from(["float32", "bfloat16", "int32", "bool"])
    leaves = draw(st.lists(st.tuples(st.sampled_from(fits), dtypes), min_size=1, max_size=4))
    values = {
        f"w{i}": np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        for i, ((shape, _), dtype) in enumerate(leaves)
    }
    old, new = draw(meshes(list(range(NODES)))), draw(meshes(list(range(NODES))))
    layouts = [
        {f"w{i}": NamedSharding(mesh, spec) for i, ((_, spec), _) in enumerate(leaves)}
        for mesh in (old, new)
    ]
    return values, *layouts, lost, draw(st.booleans())


@settings(max_examples=60)
@given(scene=scenes())
def test_every_node_gets_the_bits_of_its_new_blocks_or_all_report_the_loss(servers, scene):
    values, old, new, lost, with_copies = scene
    tree = {name: jax.device_put(value, old[name]) for name, value in values.items()}
    taken = {node: Blocks.take(5, tree, devices_of([node])) for node in range(NODES)}
    own = {node: [] if node in lost else [taken[node]] for node in range(NODES)}
    for node, server in enumerate(servers):
        for name in server.offers():
            server.withdraw(name)
        if node not in lost:
            server.offer("state", taken[node])
    for node, keeper in keepers([range(NODES)]).items() if with_copies else ():
        if keeper not in lost:
            own[keeper].append(taken[node])
            servers[keeper].offer(f"copies of node {node}", taken[node])
    held_by = holders(5, {n: (server.address, server.offers()) for n, server in enumerate(servers)})
    seen_by = [
        Scattered(5, shapes_of(values), own[node], held_by, ask, node) for node in range(NODES)
    ]
    wanted = {node: boxes_on(node, values, new) for node in range(NODES)}
    for node, blocks in taken.items():
        assert [set(found) for found in blocks.leaves] == boxes_on(node, values, old)

    if lost_ref(values, [blocks for held in own.values() for blocks in held]):
        for node in range(NODES):
            with pytest.raises(StateLost, match=r"\['w\d'\]\[.*\] is on no node that is left"):
                seen_by[node].gather(wanted[node])
        return
    with ThreadPoolExecutor(NODES) as pool:
        results = pool.map(lambda node: seen_by[node].gather(wanted[node]), range(NODES))
        for node, result in enumerate(results):
            assert [set(found) for found in result.leaves] == wanted[node]
            for found, value in zip(result.leaves, values.values(), strict=True):
                assert all(same_bits(block, value[at(box)]) for box, block in found.items())
    for name, whole in seen_by[0].whole().items():
        assert same_bits(whole, values[name])
    for name, array in seen_by[1].rebuild(new).items():
        assert array.sharding == new[name]
        assert same_bits(array, values[name])


def test_processes_of_one_world_fill_only_their_own_devices():
    """Two real processes, both new, share a mesh of four devices; this process has the state."""
    program = """
import functools, sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from parallel.elastic.processes.blocks import Scattered, holders
from parallel.elastic.processes.exchange import fetch
me, coordinator, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(coordinator, 2, me)
shapes = [jax.ShapeDtypeStruct((8, 2), np.int32), jax.ShapeDtypeStruct((), jax.numpy.bfloat16)]
catalog = ((((0, 2), (0, 2)), ((2, 8), (0, 2))), ((),))
held_by = holders(7, {2: (("127.0.0.1", port), {"state": (7, catalog)})})
mesh = Mesh(np.array(jax.devices()), "x")
ask = functools.partial(fetch, authkey=b"known to the nodes", limit_s=10)
w, scale = Scattered(7, shapes, (), held_by, ask, me).rebuild(
    [NamedSharding(mesh, P("x")), NamedSharding(mesh, P())])
assert w.shape == (8, 2) and len(w.sharding.device_set) == 4 and not w.is_fully_addressable
print([shard.data.tolist() for shard in w.addressable_shards], float(scale))
"""
    w, scale = np.arange(16, dtype=np.int32).reshape(8, 2), np.array(0.5, jnp.bfloat16)
    state = Blocks(7, ({((0, 2), (0, 2)): w[:2], ((2, 8), (0, 2)): w[2:]}, {(): scale}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    with BlockServer(KEY) as server:
        server.offer("state", state)
        nodes = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(node), coordinator, str(server.address[1])],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[4],
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )
            for node in range(2)
        ]
        try:
            said = [node.communicate(timeout=60)[0] for node in nodes]
        finally:
            for node in nodes:
                node.kill()
                node.wait()
    assert said == [f"{w[a : a + 4].reshape(2, 2, 2).tolist()} 0.5\n" for a in (0, 4)]


def test_what_was_taken_outlives_the_arrays():
    tree = jax.device_put(np.arange(12.0), NamedSharding(mesh_on([0, 1], 2, 2), P(FSDP)))
    taken = Blocks.take(3, [tree])
    assert taken.catalog() == ((((0, 6),), ((6, 12),)),)  # each once, though two devices have it
    memory = {shard.data.unsafe_buffer_pointer() for shard in tree.addressable_shards}
    assert not memory & {block.ctypes.data for block in taken.leaves[0].values()}
    jax.jit(lambda x: x * 0, donate_argnums=0)(tree).block_until_ready()
    assert Scattered(3, [tree], [taken], {}, ask, 0).whole()[0].tolist() == list(range(12))


def test_steps_on_a_rebuilt_array_leave_the_blocks_as_they_are():
    x = np.arange(4096, dtype=np.float32)
    sharding = NamedSharding(mesh_on([0], 1, 1 * GPUS), P())
    taken = Blocks.take(3, [jax.device_put(x, sharding)])
    [array] = Scattered(3, [x], [taken], {}, ask, 0).rebuild([sharding])
    jax.jit(lambda x: x + 1, donate_argnums=0)(array).block_until_ready()
    assert same_bits(taken.leaves[0][((0, 4096),)], x)


def on_nodes(nodes, catalog, step=1):
    return {node: (("host", node), {"state": (step, catalog)}) for node in nodes}


def recorder(asked):
    def fetch_ones(peer, step, wanted):
        asked.append((peer.node, len(wanted)))
        return [np.ones([b - a for a, b in box], np.float32) for _, _, box in wanted]

    return fetch_ones


def test_each_peer_is_asked_once_and_all_holders_share_the_load():
    catalog = tuple((((0, 2),), ((2, 4),)) for _ in range(30))
    shapes = [jax.ShapeDtypeStruct((4,), np.float32)] * 30
    loads = dict.fromkeys([3, 4, 8], 0)
    for node in range(3):
        asked = []
        held_by = holders(1, on_nodes(loads, catalog))
        Scattered(1, shapes, (), held_by, recorder(asked), node).whole()
        assert sorted(peer for peer, _ in asked) == [3, 4, 8]
        for peer, count in asked:
            loads[peer] += count
    assert set(loads.values()) == {60}


def test_nodes_that_want_one_block_ask_different_holders():
    held_by, asked = holders(1, on_nodes([0, 1, 2], ((((0, 4),),),))), []
    for node in (5, 6, 7):
        Scattered(
            1, [jax.ShapeDtypeStruct((4,), np.float32)], (), held_by, recorder(asked), node
        ).whole()
    assert sorted(peer for peer, _ in asked) == [0, 1, 2]


def test_what_a_node_has_itself_is_not_fetched():
    own, asked = Blocks(1, ({((0, 4),): np.zeros(4, np.float32)},)), []
    held_by = holders(1, on_nodes([0, 1, 2], ((((0, 4),), ((4, 8),)),)))
    Scattered(1, [np.zeros(8, np.float32)], [own], held_by, recorder(asked), node=1).whole()
    assert [count for _, count in asked] == [1]


def test_of_a_larger_block_only_the_wanted_part_is_fetched():
    def fetch_row(peer, step, wanted):
        assert list(wanted) == [("state", 0, ((2, 3), (0, 6)))]
        return [np.full((1, 6), 7.0)]

    held_by = holders(1, on_nodes([0], ((((0, 4), (0, 6)),),)))
    scattered = Scattered(1, [np.zeros((4, 6))], (), held_by, fetch_row, 1)
    [blocks] = scattered.gather([[((2, 3), (0, 6))]]).leaves
    np.testing.assert_array_equal(blocks[((2, 3), (0, 6))], np.full((1, 6), 7.0))


def test_blocks_of_other_steps_do_not_count():
    own = Blocks(2, ({((0, 4),): np.zeros(4)},))
    held_by = holders(1, on_nodes([0], ((((0, 4),),),), step=2))
    with pytest.raises(StateLost, match=r"\['w'\]\[0:4\] is on no node that is left"):
        Scattered(1, {"w": np.zeros(4)}, [own], held_by, ask, 0).whole()


def test_another_dtype_at_a_peer_is_not_accepted():
    held_by = holders(1, on_nodes([0], ((((0, 4),),),)))
    with pytest.raises(ValueError, match="int32 here and float32 at a peer: all nodes must train"):
        Scattered(1, [np.zeros(4, np.int32)], (), held_by, recorder([]), 1).whole()


def test_a_cover_needs_no_box_that_earlier_ones_make_up():
    held = [((0, 3),), ((1, 2),), ((2, 4),), ((3, 4),)]
    assert cover(((0, 4),), held) == ([((0, 3),), ((2, 4),)], None)


sides = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda side: tuple(sorted(side)))


@given(st.integers(0, 2).flatmap(lambda d: st.lists(st.tuples(*[sides] * d), min_size=1)))
def test_a_cover_covers_and_its_gap_is_held_by_no_one(found):
    box, *held = found
    x = np.arange(6 ** len(box)).reshape((6,) * len(box))
    painted = np.zeros(x.shape, bool)
    for other in held:
        painted[at(other)] = True
    used, gap = cover(box, held)
    assert set(used) <= set(held)
    if gap is None:
        assert painted[at(box)].all()
        np.testing.assert_array_equal(
            compose(box, {other: x[at(other)] for other in used}, x.dtype), x[at(box)]
        )
    else:
        assert np.zeros(x.shape)[at(gap)].size and not painted[at(gap)].any()
        inside = np.zeros(x.shape, bool)
        inside[at(box)] = True
        assert inside[at(gap)].all()
