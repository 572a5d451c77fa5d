"""A job of a few numbers lives through losses as a training run does, and counts as if nothing had
happened.

Its state is one array over all axes of the mesh, so every shard of it is the only one unless there
is a second replica; its step is integers, so the result is the same on every mesh or wrong.
"""

import contextlib
import dataclasses
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic.cluster import NodeFailure
from parallel.elastic.emulated import EmulatedCluster
from parallel.elastic.formation import NotEnoughNodes, Rings
from parallel.elastic.runtime import Runtime
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopRing
from parallel.spmd.mesh import FSDP, TENSOR, Layout

NODES, GPUS, STEPS = 6, 2, 6
SIZE = 48  # numbers of the state, divisible by every mesh below
EVERY = 2  # steps from one checkpoint to the next


class State(NamedTuple):
    numbers: jax.Array  # [SIZE]
    count: jax.Array  # []


def begin() -> State:
    return State(np.arange(SIZE, dtype=np.int32), np.int32(0))


def advance(state: State, given: jax.Array) -> State:
    """One step: every number needs all others."""
    return State(3 * state.numbers + state.numbers.sum() // 7 + given, state.count + 1)


def after(steps: int) -> State:
    """The twin of a run, on one device."""
    state = begin()
    for n in range(steps):
        state = jax.device_get(jax.jit(advance)(state, np.int32(n)))
    return state


@dataclasses.dataclass(frozen=True)
class Counting:
    """A `parallel.elastic.Job`."""

    @property
    def programs(self):
        return {"advance": self.advance, "look": self.look}

    def shardings(self, mesh):
        return State(NamedSharding(mesh, P((FSDP, TENSOR))), NamedSharding(mesh, P()))

    def advance(self, mesh):
        shardings = self.shardings(mesh)
        given = jax.ShapeDtypeStruct((), jnp.int32, sharding=shardings.count)
        return jax.jit(advance, out_shardings=shardings).lower(self.shaped(mesh), given)

    def look(self, mesh):
        whole = self.shardings(mesh).count
        return jax.jit(lambda x: x.numbers.max(), out_shardings=whole).lower(self.shaped(mesh))

    def shaped(self, mesh):
        return jax.tree.map(
            lambda x, h: jax.ShapeDtypeStruct(np.shape(x), jnp.int32, sharding=h),
            begin(),
            self.shardings(mesh),
        )


@dataclasses.dataclass
class Run:
    """The loop of a run in its shortest form, and what happened in it."""

    runtime: Runtime
    disk: dict[int, State]
    recovered: list
    tried: list[int]

    def step(self, n: int) -> int:
        self.tried.append(n)
        runtime = self.runtime
        state = runtime.run("advance", runtime.state, runtime.put(np.int32(n)), step=n)
        runtime.cluster.commit(n)
        runtime.hold(n + 1, state)
        return n

    def go_back(self):
        return max(self.disk.items())

    def to_the_end(self) -> State:
        n = self.runtime.start(self.go_back)
        while n < STEPS:
            self.runtime.cluster.progress(n, "before")
            n, result, recovered = self.runtime.surviving(n, self.step, self.go_back)
            assert n == result
            self.recovered += recovered
            n += 1
            assert self.runtime.step == n
            if n % EVERY == 0:
                whole = self.runtime.cluster.whole()
                if whole is not None:
                    self.disk[n] = whole
                self.runtime.cluster.progress(n - 1, "saving")
        self.runtime.cluster.check_nothing_on_lost()
        return self.runtime.cluster.whole()


@contextlib.contextmanager
def run_of(plan: str, fsdp: int = 1, tensor: int = 4, **given):
    """A run on rings of `tensor` GPUs; with fsdp=3, each part of the state is on one ring only."""
    rings = Rings(KHopRing(NODES, hops=2), Layout(tensor, fsdp), GPUS)
    faults = FaultPlan.parse(plan)
    with EmulatedCluster(rings, faults, heartbeat_s=0.005, timeout_s=0.1) as cluster:
        runtime = Runtime(cluster, rings, Counting(), ("advance",), **given)
        with contextlib.closing(runtime):
            yield Run(runtime, {0: begin()}, [], [])


def same(a: State, b: State) -> bool:
    return (np.asarray(a.numbers) == b.numbers).all() and a.count == b.count


@pytest.mark.parametrize(
    "plan, sources",
    [
        ("", []),
        ("lose 3 before 2", ["replica"]),
        ("lose 3 during 2", ["replica"]),
        ("lose 3 saving 3", ["replica"]),
        ("lose 3 before 2; lose 0 recovering 2", ["replica", "replica"]),
        ("lose 3 before 2; back 3 before 4", ["replica", "replica"]),
        ("lose 3 before 2; lose 4 during 2; back 3 before 4; lose 0 before 4", ["replica"] * 2),
    ],
)
def test_a_run_ends_as_if_nothing_had_happened(plan, sources):
    with run_of(plan) as run:
        assert same(run.to_the_end(), after(STEPS))
    assert all(each.steps_lost == 0 for each in run.recovered)
    found = [each.state_from for each in run.recovered]
    assert found[: len(sources)] == sources[: len(found)] and bool(found) == bool(sources)


@pytest.mark.parametrize("moment", ["before", "during", "saving"])
def test_what_one_node_held_alone_comes_from_its_ring_neighbour(moment):
    with run_of(f"lose 3 {moment} 3", fsdp=3) as run:
        assert same(run.to_the_end(), after(STEPS))
    (recovered,) = run.recovered
    assert (recovered.state_from, recovered.lost, recovered.back) == ("neighbour", {3}, set())
    assert recovered.steps_lost == 0


def test_where_all_replicas_die_the_run_goes_back():
    """Nodes 2 and 3 hold the only copies of a third of the state, and keep those of each other."""
    with run_of("lose 2 during 3; lose 3 during 3", fsdp=3) as run:
        assert same(run.to_the_end(), after(STEPS))
    (recovered,) = run.recovered
    assert (recovered.state_from, recovered.steps_lost, recovered.lost) == ("checkpoint", 1, {2, 3})
    assert run.tried == [0, 1, 2, 3, 2, 3, 4, 5]


def test_a_node_that_is_lost_while_the_run_recovers_is_recovered_from_too():
    with run_of("lose 3 during 2; lose 0 recovering 2") as run:
        assert same(run.to_the_end(), after(STEPS))
    assert [each.lost for each in run.recovered] == [{3}, {0}]
    assert [each.generation.number for each in run.recovered] == [1, 2]
    assert run.runtime.mesh.devices.shape == (2, 1, 4)


def test_a_recovery_is_timed_from_the_notice_to_the_step():
    told = []
    with run_of(
        "lose 3 during 2; back 3 before 4", on_generation=lambda n, g: told.append((n, g.number))
    ) as run:
        run.to_the_end()
    phases = ["notice", "placement", "circuits", "mesh", "programs", "state", "step"]
    assert [list(each.watch.phases) for each in run.recovered] == [phases, phases]
    assert [(each.lost, each.back) for each in run.recovered] == [({3}, set()), (set(), {3})]
    assert told == [(0, 0), (2, 1), (4, 2)]


def test_a_run_goes_on_where_its_last_resort_is():
    with run_of("") as run:
        run.disk[4] = after(4)
        assert same(run.to_the_end(), after(STEPS))
    assert run.tried == [4, 5]


def test_a_failed_step_leaves_the_state_as_it_was():
    with run_of("lose 3 during 0") as run:
        run.runtime.start(run.go_back)
        with pytest.raises(NodeFailure):
            run.step(0)
        assert run.runtime.step == 0
        kept = np.asarray(run.runtime.state.count.addressable_shards[0].data)
        assert kept == 0 and same(run.runtime.cluster.whole(), begin())


@pytest.mark.parametrize("node", [0, 3])  # JAX reads what is whole on all devices from the first
def test_a_step_may_read_the_state_and_what_it_reads_is_never_a_lost_nodes(node):
    with run_of(f"lose {node} before 1; back {node} before 4") as run:
        read, step = [], run.step

        def read_and_step(n):
            read.append(int(run.runtime.read(run.runtime.state.count, n)))
            return step(n)

        run.step = read_and_step
        assert same(run.to_the_end(), after(STEPS))
    assert sorted(set(read)) == list(range(STEPS))


def test_where_no_ring_is_left_what_survives_is_still_whole():
    plan = "; ".join(f"lose {node} during 3" for node in (1, 2, 4, 5))
    with run_of(plan) as run, pytest.raises(NotEnoughNodes):
        run.to_the_end()
    assert run.runtime.step == 3
    assert same(run.runtime.cluster.whole(), after(3))


def test_what_nobody_holds_is_not_called_whole():
    plan = "; ".join(f"lose {node} during 3" for node in (0, 1, 2, 4, 5))
    with run_of(plan) as run, pytest.raises(NotEnoughNodes):
        run.to_the_end()
    assert run.runtime.cluster.whole() is None


def test_a_step_that_fails_without_a_lost_node_ends_the_run():
    def failing(n):
        raise NodeFailure(n)

    with run_of("") as run, pytest.raises(TimeoutError, match="a lost node is not the reason"):
        run.runtime.cluster._limit_s = 0.02
        run.runtime.start(run.go_back)
        run.runtime.surviving(0, failing, run.go_back)


def test_the_next_smaller_mesh_is_compiled_in_the_background(monkeypatch):
    with run_of("lose 3 before 1") as run:
        runtime, compiled_in = run.runtime, []
        runtime.start(run.go_back)
        advance, look = (runtime._programs[name] for name in ("advance", "look"))
        prepare = advance.prepare

        def prepare_and_tell(shape):
            if not advance.is_prepared(shape):
                compiled_in.append((threading.current_thread().name, shape))
            return prepare(shape)

        monkeypatch.setattr(advance, "prepare", prepare_and_tell)
        assert advance.is_prepared((3, 1, 4)) and not advance.is_prepared((2, 1, 4))
        runtime.prepare()
        runtime.close()
        assert compiled_in == [("prepare", (2, 1, 4))] and advance.is_prepared((2, 1, 4))
        assert not look.is_prepared((2, 1, 4)), "it is not part of a step"
        assert same(run.to_the_end(), after(STEPS))
        assert compiled_in == [("prepare", (2, 1, 4))], "the recovery had nothing to compile"
        runtime.prepare()
        runtime.close()
        assert compiled_in[1:] == [("prepare", (1, 1, 4))]


def test_there_is_nothing_smaller_than_one_ring():
    with run_of("", tensor=12) as run:
        run.runtime.start(run.go_back)
        run.runtime.prepare()
        assert run.runtime._preparing is None


def test_a_program_that_is_no_part_of_a_step_runs_on_the_mesh_of_the_moment():
    with run_of("lose 3 before 1") as run:
        runtime = run.runtime
        runtime.start(run.go_back)
        wanted = begin().numbers.max()
        assert runtime.run("look", runtime.state, step=0) == wanted
        runtime.cluster.progress(1, "before")
        done = runtime.surviving(
            1, lambda n: int(runtime.run("look", runtime.state, step=n)), run.go_back
        )
        assert done.result == wanted and [each.lost for each in done.recovered] == [{3}]


def test_host_arrays_are_put_on_all_devices_of_the_mesh():
    with run_of("") as run:
        runtime = run.runtime
        runtime.start(run.go_back)
        tree = runtime.put({"a": np.arange(12), "b": np.zeros((4, 2))}, TENSOR)
        for name, x in {"a": np.arange(12), "b": np.zeros((4, 2))}.items():
            np.testing.assert_array_equal(tree[name], x)
            assert tree[name].sharding == NamedSharding(runtime.mesh, P(TENSOR))
        assert runtime.put(np.int32(3)).sharding == NamedSharding(runtime.mesh, P())
        assert runtime.num_rings == 3


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    with run_of("lose 3 before 2") as run:
        run.to_the_end()
        run.runtime.prepare()
    assert set(threading.enumerate()) <= before
