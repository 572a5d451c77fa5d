import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic.cluster import NodeFailure
from parallel.elastic.emulated import EmulatedCluster
from parallel.elastic.formation import Rings
from parallel.elastic.snapshot import shards
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopRing
from parallel.spmd.mesh import AXES, TENSOR, Layout

NODES, GPUS = 8, 2
RINGS = KHopRing(NODES, hops=2), Layout(tensor=4), GPUS  # rings of two nodes


def cluster(plan: FaultPlan, on_fault=lambda fault: None) -> EmulatedCluster:
    return EmulatedCluster(Rings(*RINGS), plan, on_fault, heartbeat_s=0.005, timeout_s=0.05)


def state_on(nodes: EmulatedCluster, ids: list[int], array=None) -> jax.Array:
    """An array whose rows are split over the GPUs of each node and replicated over the nodes."""
    grid = np.array([nodes.devices[node] for node in ids]).reshape(len(ids), 1, GPUS)
    mesh = Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)
    return jax.device_put(
        np.arange(8.0) if array is None else array, NamedSharding(mesh, P(TENSOR))
    )


def shards_by_node(nodes: EmulatedCluster, array: jax.Array) -> dict[int, list[jax.Array]]:
    found = {}
    for shard in shards(array):
        found.setdefault(nodes.node_of(shard.device), []).append(shard.data)
    return found


@jax.jit
def double(x):
    return 2 * x


@jax.jit
def take_long(x):
    return jax.lax.fori_loop(0, 50, lambda _, y: y @ x, x)


@pytest.mark.parametrize("verb", ["stop", "crash"])
def test_failures_of_a_process_are_refused(verb):
    with pytest.raises(ValueError, match=f"no process that can {verb}; write 'lose 3 during 5'"):
        cluster(FaultPlan.parse(f"{verb} 3 during 5"))


def test_a_step_of_healthy_nodes_is_just_the_step():
    with cluster(FaultPlan()) as nodes:
        result = nodes.run(double, state_on(nodes, [0, 1, 2]), step=0)
        np.testing.assert_array_equal(result, 2 * np.arange(8.0))


@pytest.mark.parametrize("others_first", [True, False])
def test_what_a_lost_node_held_is_deleted_and_the_rest_is_not(others_first):
    with cluster(FaultPlan().lose(node=3, step=5)) as nodes:
        state = state_on(nodes, [2, 3, 4] if others_first else [3, 2, 4])
        alone = jax.device_put(1.0, nodes.devices[3][1])
        nodes.progress(4, "before")
        nodes.progress(5, "recovering")
        assert nodes.lost == frozenset()
        nodes.progress(5, "before")
        assert nodes.lost == {3}
        assert alone.is_deleted()
        for shard in shards(state):
            if nodes.node_of(shard.device) == 3:
                with pytest.raises(RuntimeError, match="deleted"):
                    np.asarray(shard.data)
            else:
                np.testing.assert_array_equal(shard.data, np.arange(8.0)[shard.index])
        nodes.check_nothing_on_lost()


def test_a_step_with_a_lost_node_fails_before_it_is_dispatched_and_names_nobody():
    dispatched = []
    with cluster(FaultPlan().lose(node=3, step=5)) as nodes:
        state = state_on(nodes, [2, 3])
        nodes.progress(5, "before")
        with pytest.raises(NodeFailure) as failure:
            nodes.run(dispatched.append, state, step=5)
    assert not dispatched
    assert (
        str(failure.value)
        == "step 5 failed: a node that takes part was lost; ask the membership which."
    )


def test_a_node_lost_in_the_middle_fails_the_step_once_the_survivors_are_done():
    with cluster(FaultPlan().lose(node=3, step=5, moment="during")) as nodes:
        results = []

        def step(x):
            results.append(take_long(x))
            return results[0]

        with pytest.raises(NodeFailure):
            nodes.run(step, state_on(nodes, [2, 3], np.eye(256, dtype=np.float32)), step=5)
        blocks = shards_by_node(nodes, results[0])
        assert all(block.is_deleted() for block in blocks[3])
        assert all(block.is_ready() for block in blocks[2])


def test_a_lost_node_that_takes_no_part_disturbs_nobody():
    with cluster(FaultPlan().lose(node=3, step=5).lose(node=6, step=5, moment="during")) as nodes:
        nodes.progress(5, "before")
        nodes.run(double, state_on(nodes, [0, 1, 2]), step=5)
        assert nodes.lost == {3, 6}


def test_results_on_a_lost_node_are_no_results():
    with cluster(FaultPlan().lose(node=3, step=0)) as nodes:
        nodes.progress(0, "before")
        with pytest.raises(NodeFailure):
            nodes.run(lambda: state_on(nodes, [2, 3]), step=0)


def test_what_is_put_on_a_lost_node_is_gone_before_a_step_can_use_it():
    with cluster(FaultPlan().lose(node=3, step=0)) as nodes:
        nodes.progress(0, "before")
        late = state_on(nodes, [2, 3])
        with pytest.raises(AssertionError, match="still has data on"):
            nodes.check_nothing_on_lost()
        with pytest.raises(NodeFailure):
            nodes.run(double, late, step=0)
        nodes.check_nothing_on_lost()


def test_a_node_comes_back_with_empty_memory():
    with cluster(FaultPlan().lose(node=3, step=5).back(node=3, step=9)) as nodes:
        old = state_on(nodes, [2, 3])
        nodes.progress(5, "before")
        late = state_on(nodes, [2, 3])
        nodes.progress(9, "before")
        assert nodes.lost == frozenset()
        for state in (old, late):
            assert all(block.is_deleted() for block in shards_by_node(nodes, state)[3])
            with pytest.raises(NodeFailure):
                nodes.run(double, state, step=9)
        nodes.run(double, state_on(nodes, [2, 3]), step=9)


def test_an_array_of_random_keys_is_not_dispatched_with_deleted_parts():
    with cluster(FaultPlan().lose(node=3, step=5).back(node=3, step=6)) as nodes:
        keys = state_on(nodes, [2, 3], jax.random.split(jax.random.key(0), 8))
        nodes.run(jax.random.key_data, keys, step=4)
        nodes.progress(5, "before")
        nodes.progress(6, "before")
        with pytest.raises(NodeFailure):
            nodes.run(jax.random.key_data, keys, step=6)


def test_a_fault_happens_once_however_often_its_step_is_repeated():
    plan = (
        FaultPlan().lose(node=3, step=5).lose(node=4, step=5, moment="during").back(node=3, step=6)
    )
    told = []
    with cluster(plan, told.append) as nodes:
        for step, happened in ((5, 2), (5, 2), (6, 3), (5, 3)):
            nodes.progress(step, "before")
            nodes.run(double, state_on(nodes, [0, 1]), step=step)
            assert tuple(told) == plan.faults[:happened]
        assert nodes.lost == {4}


def test_faults_of_one_moment_happen_in_the_order_of_the_plan_each_once():
    plan = FaultPlan.parse(
        "lose 3 before 1; lose 5 before 1; back 3 before 2; lose 4 before 2; back 5 before 2"
    )
    told = []
    with cluster(plan, told.append) as nodes:
        nodes.progress(1, "before")
        nodes.progress(2, "before")
        assert nodes.lost == {4}
        assert tuple(told) == plan.faults


def test_donated_arguments_are_no_failure():
    with cluster(FaultPlan()) as nodes:
        state = state_on(nodes, [0, 1])
        for step in range(3):
            given, state = state, nodes.run(jax.jit(jnp.sin, donate_argnums=0), state, step=step)
            assert given.is_deleted(), "as the arrays of a lost node are"
        np.testing.assert_allclose(state, np.sin(np.sin(np.sin(np.arange(8.0)))), rtol=1e-6)


def test_the_membership_notices_who_was_lost_together_together():
    with cluster(FaultPlan().lose(node=3, step=5).lose(node=6, step=5)) as nodes:
        everyone = nodes.membership.members()
        assert everyone.nodes == frozenset(range(NODES))
        nodes.progress(5, "before")
        left = nodes.membership.wait_until_changed(everyone, limit_s=5)
        assert left.nodes == everyone.nodes - {3, 6}
        assert left.lost_since(everyone) == {3, 6}


def test_nobody_comes_back_before_being_missed():
    with cluster(FaultPlan().lose(node=3, step=5, moment="saving").back(node=3, step=6)) as nodes:
        state, known = state_on(nodes, [2, 3]), nodes.membership.members()
        nodes.progress(5, "saving")
        nodes.progress(6, "before")
        with pytest.raises(NodeFailure):
            nodes.run(double, state, step=6)
        now = nodes.membership.wait_until_changed(known, limit_s=0)
        assert now.nodes == known.nodes
        assert now.epoch == known.epoch + 2


def test_no_thread_is_left_behind():
    before = threading.active_count()
    with cluster(FaultPlan()):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_plan_that_names_a_node_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there is no node 8, only nodes 0 to 7"):
        cluster(FaultPlan().lose(node=8, step=1))


def test_more_nodes_than_devices_are_refused():
    with pytest.raises(
        ValueError, match=r"9 nodes of 2 need 18 devices, this process has 16; set jax_num_cpu"
    ):
        EmulatedCluster(Rings(KHopRing(9, hops=2), Layout(tensor=4), GPUS), FaultPlan())
