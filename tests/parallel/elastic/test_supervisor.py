"""Each generation follows from the one before, leaves out who was lost, and is timed by phases."""

import contextlib

import pytest

from parallel.elastic.inject import EmulatedCluster
from parallel.elastic.supervisor import NotEnoughNodes, Stopwatch, Supervisor
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopRing
from parallel.spmd.mesh import Layout

NODES, GPUS = 8, 2


@contextlib.contextmanager
def supervising(plan: str, limit_s: float = 5.0):
    """A supervisor of rings of two nodes, and its cluster."""
    faults = FaultPlan.parse(plan)
    with EmulatedCluster(NODES, GPUS, faults, heartbeat_s=0.005, timeout_s=0.1) as cluster:
        layout, topology = Layout(tensor=4), KHopRing(NODES, hops=2)
        yield Supervisor(cluster, topology, layout, GPUS, limit_s), cluster


def nodes_of(generation, cluster) -> set[int]:
    return {cluster.node_of(device) for device in generation.mesh.devices.flat}


def test_the_first_mesh_has_all_nodes_in_ring_order():
    with supervising("") as (supervisor, cluster):
        first = supervisor.first()
        assert (first.number, first.placement.groups) == (0, ((0, 1), (2, 3), (4, 5), (6, 7)))
        assert first.members.nodes == nodes_of(first, cluster) == set(range(NODES))


def test_a_lost_node_is_left_out_and_taken_in_again():
    with supervising("lose 3 before 1; back 3 before 2") as (supervisor, cluster):
        first, watch = supervisor.first(), Stopwatch()
        cluster.reach(1, "before")
        second = supervisor.next(first, after_failure=True, watch=watch)
        assert second.number == 1
        assert second.members.nodes == set(range(NODES)) - {3}
        assert 3 not in nodes_of(second, cluster)
        assert list(watch.phases) == ["notice", "placement", "circuits", "mesh"]
        cluster.reach(2, "before")
        third = supervisor.next(second, after_failure=False, watch=Stopwatch())
        assert nodes_of(third, cluster) == set(range(NODES))
        assert third.members.back_since(second.members) == {3}


def test_rings_without_the_lost_node_stay():
    with supervising("lose 3 before 1") as (supervisor, cluster):
        first = supervisor.first()
        cluster.reach(1, "before")
        second = supervisor.next(first, after_failure=True, watch=Stopwatch())
        assert {(0, 1), (4, 5), (6, 7)} <= set(second.placement.groups)


def test_a_failed_step_without_a_lost_node_is_not_waited_for_for_ever():
    with (
        supervising("", limit_s=0.02) as (supervisor, _),
        pytest.raises(TimeoutError, match="a lost node is not the reason"),
    ):
        supervisor.next(supervisor.first(), after_failure=True, watch=Stopwatch())


def test_without_a_ring_the_error_says_what_is_needed():
    plan = "; ".join(f"lose {node} before 1" for node in range(1, NODES))
    wanted = r"nodes that are left, \[0\]: tensor=4 needs 2 nodes, each at most 2 from the next"
    with supervising(plan) as (supervisor, cluster):
        first = supervisor.first()
        cluster.reach(1, "before")
        with pytest.raises(NotEnoughNodes, match=wanted):
            supervisor.next(first, after_failure=True, watch=Stopwatch())
