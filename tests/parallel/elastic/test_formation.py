"""Each generation follows from the one before, leaves out who was lost, and is timed by phases."""

import contextlib

import jax
import pytest

from parallel.elastic.emulated import EmulatedCluster
from parallel.elastic.formation import Generation, NotEnoughNodes, Rings, Stopwatch
from parallel.elastic.membership import Members
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopRing
from parallel.spmd.mesh import Layout

NODES, GPUS = 8, 2


def rings_of_two(fsdp: int = 1) -> Rings:
    return Rings(KHopRing(NODES, hops=2), Layout(tensor=4, fsdp=fsdp), GPUS)


@contextlib.contextmanager
def emulated(plan: str, limit_s: float = 5.0):
    """A cluster that is formed into rings of two nodes."""
    faults = FaultPlan.parse(plan)
    with EmulatedCluster(
        rings_of_two(), faults, heartbeat_s=0.005, timeout_s=0.1, limit_s=limit_s
    ) as cluster:
        yield cluster


def first_of(cluster: EmulatedCluster) -> Generation:
    return cluster.next(None, after_failure=False, watch=Stopwatch())


def nodes_of(generation, cluster) -> set[int]:
    return {cluster.node_of(device) for device in generation.mesh.devices.flat}


def alive(*away: int, epoch: int = 1) -> Members:
    """Members that never came twice: all nodes but these."""
    nodes = frozenset(range(NODES)) - set(away)
    return Members(nodes, epoch, dict.fromkeys(range(NODES), 1))


def test_the_first_mesh_has_all_nodes_in_ring_order():
    with emulated("") as cluster:
        first = first_of(cluster)
        assert (first.number, first.placement.groups) == (0, ((0, 1), (2, 3), (4, 5), (6, 7)))
        assert first.members.nodes == nodes_of(first, cluster) == set(range(NODES))


def test_a_lost_node_is_left_out_and_taken_in_again():
    with emulated("lose 3 before 1; back 3 before 2") as cluster:
        first, watch = first_of(cluster), Stopwatch()
        assert not cluster.changed(first)
        cluster.progress(1, "before")
        second = cluster.next(first, after_failure=True, watch=watch)
        assert second.number == 1
        assert second.members.nodes == set(range(NODES)) - {3}
        assert 3 not in nodes_of(second, cluster)
        assert list(watch.phases) == ["notice", "placement", "circuits", "mesh"]
        assert not cluster.changed(second)
        cluster.progress(2, "before")
        assert cluster.changed(second)
        third = cluster.next(second, after_failure=False, watch=Stopwatch())
        assert nodes_of(third, cluster) == set(range(NODES))
        assert third.members.back_since(second.members) == {3}


def test_rings_without_the_lost_node_stay():
    with emulated("lose 3 before 1") as cluster:
        first = first_of(cluster)
        cluster.progress(1, "before")
        second = cluster.next(first, after_failure=True, watch=Stopwatch())
        assert {(0, 1), (4, 5), (6, 7)} <= set(second.placement.groups)


def test_a_failed_step_without_a_lost_node_is_not_waited_for_for_ever():
    with (
        emulated("", limit_s=0.02) as cluster,
        pytest.raises(TimeoutError, match="a lost node is not the reason"),
    ):
        cluster.next(first_of(cluster), after_failure=True, watch=Stopwatch())


def test_without_a_ring_the_error_says_what_is_needed():
    plan = "; ".join(f"lose {node} before 1" for node in range(1, NODES))
    wanted = r"nodes that are left, \[0\]: tensor=4 needs 2 nodes, each at most 2 from the next"
    with emulated(plan) as cluster:
        first = first_of(cluster)
        cluster.progress(1, "before")
        with pytest.raises(NotEnoughNodes, match=wanted):
            cluster.next(first, after_failure=True, watch=Stopwatch())


def test_whoever_hears_the_same_members_forms_the_same_rings_without_devices():
    """So every process can form them by itself."""
    history = [alive(), alive(3, epoch=2), alive(3, 4, epoch=3), alive(4, epoch=4)]
    formed = []
    for _ in range(2):
        rings, formations = rings_of_two(), [None]
        for members in history:
            formations.append(rings.form(formations[-1], members, Stopwatch()))
        formed.append(formations[1:])
    assert formed[0] == formed[1]
    assert [formation.number for formation in formed[0]] == [0, 1, 2, 3]
    assert [formation.members for formation in formed[0]] == history


def test_a_run_may_begin_without_some_of_its_nodes():
    first = rings_of_two().form(None, alive(0, 1), Stopwatch())
    assert first.placement.groups == ((2, 3), (4, 5), (6, 7))


@pytest.mark.parametrize("fsdp", [1, 2, 4])
@pytest.mark.parametrize("away", [(), (3,), (3, 4), (0, 1, 2, 3), (0, 1, 2, 3, 4, 5)])
def test_the_shape_is_known_before_there_is_a_mesh(fsdp, away):
    rings = rings_of_two(fsdp)
    devices = {node: jax.devices()[GPUS * node :][:GPUS] for node in range(NODES)}
    formation = rings.form(None, alive(*away), Stopwatch())
    assert rings.shape(formation) == rings.mesh(formation, devices).mesh.devices.shape
    if len(formation.placement.groups) > 1:
        smaller = rings.form(formation, alive(*away, *formation.placement.groups[0]), Stopwatch())
        assert rings.shape(formation, fewer=1) == rings.shape(smaller)
    assert rings.shape(formation, fewer=len(formation.placement.groups)) is None
