"""The compiled training step uses its rings for one-hop sends only, and all of these ride live
circuits.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from ringed import QUICK

from configs import quickstart
from parallel.fabric.placement import place
from parallel.fabric.switchboard import Switchboard
from parallel.fabric.topology import KHopRing, gpu_order
from parallel.spmd.audit import audit, foreign, loads, places, unlit
from parallel.spmd.mesh import REPLICA_AXES, Layout, make_mesh
from stepjax.train.programs import model_and_programs

GPUS_PER_NODE = 2
LAYOUT = Layout(tensor=4, fsdp=2)
ROWS, TOKENS, SAMPLES = 1, 32, 8_000  # of a microbatch; two of them for every ring


def tiny():
    c = quickstart.get_config()
    c.mesh.tensor, c.mesh.fsdp = LAYOUT.tensor, LAYOUT.fsdp
    c.model.adaptor_hidden = 32
    c.model.encoder.update(width=32, hidden=64, layers=1)
    c.model.decoder.update(width=32, hidden=64, layers=1, heads=4, kv_heads=4, head_size=8)
    return c


@functools.cache
def healthy():
    """The mesh of the whole fabric, data 2 x fsdp 2 x tensor 4, and where its devices are."""
    devices = {node: jax.devices()[GPUS_PER_NODE * node :][:GPUS_PER_NODE] for node in range(8)}
    topology = KHopRing(num_nodes=8, hops=2)
    groups = place(topology, (), LAYOUT.nodes_per_group(GPUS_PER_NODE)).groups
    mesh = make_mesh(topology, groups, LAYOUT, devices)
    return mesh, places(mesh, devices)


def audited(lowered):
    mesh, _ = healthy()
    return audit(
        lowered.compile(compiler_options=QUICK).as_text(), dict(mesh.shape)
    )  # its collectives are the same


@functools.cache
def gradients():
    """The collectives of the program that makes a step's gradients."""
    mesh, _ = healthy()
    _, programs = model_and_programs(tiny(), vocabulary=128)
    rows = 2 * mesh.shape["data"] * mesh.shape["fsdp"] * ROWS
    of_row = {"audio": (SAMPLES,), "samples": (), "tokens": (TOKENS,), "audio_at": (TOKENS,)}
    of_row |= {"targets": (TOKENS,), "kind": (TOKENS,)}
    batch = {
        name: jax.ShapeDtypeStruct((rows, *shape), jnp.float32 if name == "audio" else jnp.int32)
        for name, shape in of_row.items()
    }
    return audited(programs.gradients(mesh, batch, ROWS))


def test_the_rings_carry_one_hop_sends_and_nothing_else():
    rows = gradients()
    assert foreign(rows) == []
    assert {row.axes for row in rows if row.kind == "collective-permute"} == {("tensor",)}
    others = {row.axes for row in rows if row.kind != "collective-permute"}
    assert others == {("data",), ("fsdp",), REPLICA_AXES}


def test_every_send_rides_a_live_circuit():
    _, where = healthy()
    board = Switchboard(KHopRing(num_nodes=8, hops=2), GPUS_PER_NODE)
    board.apply(board.switch(place(board.topology, (), 2).groups))
    assert unlit(gradients(), where, board.circuits()) == []


def test_it_does_whichever_two_nodes_of_ten_are_gone():
    topology = KHopRing(num_nodes=10, hops=2)
    for failed in itertools.combinations(range(10), 2):
        groups = place(topology, failed, 2).groups
        assert len(groups) == 4
        board = Switchboard(topology, GPUS_PER_NODE)
        board.apply(board.switch(groups, failed))
        where = [gpu for nodes in groups for gpu in gpu_order(topology, nodes, GPUS_PER_NODE)]
        assert unlit(gradients(), where, board.circuits()) == [], failed


def test_every_link_carries_the_same_and_most_of_it_for_each_microbatch():
    _, where = healthy()
    got = loads(gradients(), where)
    assert len(got) == 16
    assert len({(load.bytes, load.bytes_per_iteration) for load in got}) == 1
    assert got[0].bytes_per_iteration > got[0].bytes > 0


def test_the_update_communicates_nothing():
    mesh, _ = healthy()
    _, programs = model_and_programs(tiny(), vocabulary=128)
    assert audited(programs.update(mesh)) == []
