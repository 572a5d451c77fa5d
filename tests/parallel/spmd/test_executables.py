"""A program compiled once runs on any devices of its shape, with the same bits and no remains."""

import pathlib
import pickle
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.fabric.topology import KHopRing
from parallel.spmd import ring
from parallel.spmd.audit import audit, foreign
from parallel.spmd.executables import Portable, Program
from parallel.spmd.mesh import AXES, Layout, make_mesh, stand_in

SHAPE = (2, 1, 4)
SPLIT = P(AXES)
CONSTANT = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
ELSEWHERE = {
    "the same devices": range(8),
    "the others": range(8, 16),
    "backwards": range(7, -1, -1),
    "every second": range(1, 16, 2),
    "out of order": [8, 10, 11, 9, 4, 6, 7, 5],
}
anywhere = pytest.mark.parametrize("ids", ELSEWHERE.values(), ids=ELSEWHERE)


def on_device(x_block, y_block):
    """Sends on rings, a sum between rings, a loop and a constant."""
    y_block = jax.lax.fori_loop(0, 3, lambda _, y: jnp.tanh(y + CONSTANT), y_block)
    x = ring.all_gather(jnp.sin(x_block) @ y_block, "tensor", 0)
    return ring.reduce_scatter(x, "tensor", 0), jax.lax.psum(y_block, "data")


def lower(mesh, donate=()):
    run = jax.shard_map(on_device, mesh=mesh, in_specs=SPLIT, out_specs=SPLIT, check_vma=False)
    block = jax.ShapeDtypeStruct(
        (4 * mesh.size, 4), jnp.float32, sharding=NamedSharding(mesh, SPLIT)
    )
    return jax.jit(run, donate_argnums=donate).lower(block, block)


def inputs(mesh):
    xy = np.random.default_rng(0).normal(size=(2, 4 * mesh.size, 4)).astype(np.float32)
    return jax.device_put(tuple(xy), NamedSharding(mesh, SPLIT))


def mesh_of(ids):
    return stand_in(SHAPE, [jax.devices()[i] for i in ids])


@pytest.fixture(scope="module")
def wanted():
    """What the program computes on the devices that it was compiled for, by the ordinary way."""
    mesh = stand_in(SHAPE, jax.devices())
    return [np.asarray(x) for x in lower(mesh).compile()(*inputs(mesh))]


@pytest.fixture(scope="module")
def program():
    return Program(lower, jax.devices())


@anywhere
def test_a_program_gives_the_same_bits_on_any_devices(program, wanted, ids):
    mesh = mesh_of(ids)
    for result, want in zip(program.on(mesh)(*inputs(mesh)), wanted, strict=True):
        np.testing.assert_array_equal(result, want)
        assert result.sharding == NamedSharding(mesh, SPLIT)


@pytest.fixture(scope="module")
def donating():
    return Program(lambda mesh: lower(mesh, donate=(0, 1)), jax.devices())


@anywhere
def test_donated_buffers_are_used_up_on_the_new_devices(donating, wanted, ids):
    mesh = mesh_of(ids)
    given = inputs(mesh)
    results = donating.on(mesh)(*given)
    assert all(x.is_deleted() for x in given)
    for result, want in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(result, want)


def test_nothing_is_left_on_the_devices_that_it_was_compiled_for(program):
    mesh = mesh_of(range(8, 16))
    before = jax.live_arrays()
    results = program.on(mesh)(*inputs(mesh))
    made = [x for x in jax.live_arrays() if all(x is not old for old in before)]
    assert all(any(x is y for y in made) for x in results)
    assert set.union(*(x.devices() for x in made)) == set(mesh.devices.flat)


def test_the_audit_of_a_program_holds_wherever_it_runs(program):
    here, there = (
        audit(program.on(mesh_of(ids)).as_text(), mesh_of(ids).shape)
        for ids in (range(8), range(8, 16))
    )
    compiled = lower(mesh_of(range(8))).compile()
    assert here == there == audit(compiled.as_text(), mesh_of(range(8)).shape)
    assert foreign(here) == [] and {row.axes for row in here} == {("tensor",), ("data",)}


def test_a_program_is_compiled_to_end_with_the_same_bits_on_any_number_of_cores():
    """Split products take threads in which devices wait: on 16 cores, all waited for ever."""
    options = []

    class Watched:
        def __init__(self, lowered):
            self.lowered = lowered

        def compile(self, compiler_options):
            options.append(compiler_options)
            return self.lowered.compile(compiler_options)

    Program(lambda mesh: Watched(lower(mesh)), jax.devices()).prepare(SHAPE)
    assert options == [{"xla_cpu_multi_thread_eigen": False}]


def test_a_cache_of_programs_that_cannot_be_moved_is_refused(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        with pytest.raises(
            ValueError, match="cannot be moved to other devices; run with JAX_ENABLE_COMP"
        ):
            Program(lower, jax.devices())
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


def test_arrays_on_other_devices_are_refused(program):
    moved = program.on(mesh_of(range(8, 16)))
    with pytest.raises(ValueError, match="compiled for input shardings that disagree"):
        moved(*inputs(mesh_of(range(8))))


def test_a_program_is_not_loaded_onto_a_mesh_of_another_shape():
    mesh = stand_in(SHAPE, jax.devices())
    portable = Portable.of(lower(mesh).compile(), mesh)
    for shape in ((1, 2, 4), (1, 1, 4), (2, 2, 4)):
        with pytest.raises(AssertionError, match="XLA would not notice"):
            portable.on(stand_in(shape, jax.devices()))


ELSEWHERE_IN_A_FILE = """
import pickle, sys
import jax, numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from parallel.spmd.mesh import AXES, stand_in

jax.config.update("jax_num_cpu_devices", 9)
with open(sys.argv[1], "rb") as file:
    portable, xy, wanted = pickle.load(file)
mesh = stand_in(portable.shape, jax.devices()[1:])
results = portable.on(mesh)(*jax.device_put(xy, NamedSharding(mesh, P(AXES))))
for result, want in zip(results, wanted, strict=True):
    np.testing.assert_array_equal(result, want)
"""


def test_a_program_in_a_file_gives_the_same_bits_in_another_process(program, wanted, tmp_path):
    xy = tuple(np.asarray(x) for x in inputs(mesh_of(range(8))))
    path = tmp_path / "program"
    path.write_bytes(pickle.dumps((program.prepare(SHAPE), xy, wanted)))
    command = [sys.executable, "-c", ELSEWHERE_IN_A_FILE, str(path)]
    subprocess.run(command, check=True, timeout=60, cwd=pathlib.Path(__file__).parents[3])


def test_the_trees_of_a_program_in_a_file_keep_their_types():
    """Dicts, tuples and the named tuples of optax, in what goes in and in what comes out."""
    mesh = stand_in(SHAPE, jax.devices())
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    params = {"w": jnp.ones(4), "rest": (jnp.ones(2), None)}
    state = optimizer.init(params)

    def update(params, state):
        updates, state = optimizer.update(params, state, params)
        return {"params": optax.apply_updates(params, updates), "state": state}

    given = jax.device_put((params, state), NamedSharding(mesh, P()))
    compiled = jax.jit(update).lower(*given).compile()
    portable = pickle.loads(pickle.dumps(Portable.of(compiled, mesh)))
    elsewhere = mesh_of(range(8, 16))
    result = portable.on(elsewhere)(*jax.device_put(given, NamedSharding(elsewhere, P())))
    assert jax.tree.structure(result) == jax.tree.structure(compiled(*given))
    assert type(result["state"][1][0]) is optax.ScaleByAdamState
    jax.tree.map(np.testing.assert_array_equal, result, compiled(*given))


def test_the_rings_of_a_placement_run_it_too(program, wanted):
    devices = {node: jax.devices()[2 * node : 2 * node + 2] for node in range(8)}
    mesh = make_mesh(KHopRing(num_nodes=8, hops=2), ((5, 7), (1, 2)), Layout(tensor=4), devices)
    np.testing.assert_array_equal(program.on(mesh)(*inputs(mesh))[0], wanted[0])


def in_threads(*calls):
    """What the calls return when they are made side by side."""
    together, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(i):
        together.wait(timeout=10)
        results[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_a_shape_is_compiled_once_even_if_several_ask_at_the_same_time():
    lowered = []

    def lower_and_count(mesh):
        lowered.append(mesh.devices.shape)
        return lower(mesh)

    program = Program(lower_and_count, jax.devices())
    assert not program.is_prepared(SHAPE)
    first, second, third = in_threads(*[lambda: program.prepare(SHAPE)] * 3)
    assert first is second is third
    assert lowered == [SHAPE]
    assert program.is_prepared(SHAPE)
    program.on(mesh_of(range(8, 16)))
    assert lowered == [SHAPE]


def test_who_needs_one_shape_does_not_wait_for_another_to_be_compiled():
    slow, go_on = threading.Event(), threading.Event()

    def lower_slowly(mesh):
        if mesh.devices.shape == SHAPE:
            slow.set()
            assert go_on.wait(timeout=60)
        return lower(mesh)

    program = Program(lower_slowly, jax.devices())
    background = threading.Thread(target=program.prepare, args=(SHAPE,))
    background.start()
    assert slow.wait(timeout=60)
    program.prepare((1, 1, 4))
    assert program.is_prepared((1, 1, 4)) and not program.is_prepared(SHAPE)
    go_on.set()
    background.join(timeout=60)
    assert program.is_prepared(SHAPE)


def test_a_shape_that_failed_to_compile_can_be_tried_again():
    attempts = []

    def lower_at_the_second_attempt(mesh):
        attempts.append(mesh)
        if len(attempts) == 1:
            raise RuntimeError("out of luck")
        return lower(mesh)

    program = Program(lower_at_the_second_attempt, jax.devices())
    with pytest.raises(RuntimeError, match="out of luck"):
        program.prepare(SHAPE)
    assert not program.is_prepared(SHAPE)
    program.prepare(SHAPE)
    assert program.is_prepared(SHAPE)
