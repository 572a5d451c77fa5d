"""A run that loses nodes is, step for step and bit for bit, the run that does not."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from parallel.fabric.faults import MOMENTS, Fault, FaultPlan
from parallel.fabric.placement import place
from stepjax.train import jsonl
from stepjax.train.check import check

REPLICATED = {}  # three rings of two nodes, each with the whole state
SPLIT = {
    "fabric_num_nodes": 5,
    "mesh_tensor": 2,
    "mesh_fsdp": 2,
}  # rings of one node, each with half; one to spare


def faulted(seed: int) -> tuple[dict, str, str]:
    """A cluster on a ring or a line, and faults in three of its steps that leave it one ring at
    every moment.
    """
    rng = np.random.default_rng(seed)
    world, kind = (REPLICATED, SPLIT)[rng.integers(2)], ("ring", "line")[rng.integers(2)]
    changes = world | {"fabric_kind": kind}
    steps, nodes = tiny_run.config(**changes).steps, tiny_run.config(**changes).fabric.num_nodes
    events, hit = [], rng.choice(steps, 3, replace=False)
    for step, moment in sorted(
        (int(rng.choice(hit)), int(rng.integers(len(MOMENTS)))) for _ in range(10)
    ):
        kinds = ("lose", "back") if moment == 0 else ("lose",)
        next_ones = [
            Fault(kind, node, step, MOMENTS[moment]) for kind in kinds for node in range(nodes)
        ]
        possible = [
            event for event in next_ones if leaves_a_ring(FaultPlan((*events, event)), changes)
        ]
        if possible:
            events.append(possible[rng.integers(len(possible))])
    return world, kind, str(FaultPlan(tuple(events)))


def leaves_a_ring(plan: FaultPlan, changes: dict) -> bool:
    """Whether a run can live through this plan, which was good without its last event."""
    try:
        topology, layout, _ = check(tiny_run.config(str(plan), **changes))
    except ValueError:
        return False
    away = plan.away(plan.faults[-1].step + 1)
    return bool(place(topology, away, layout.nodes_per_group(2)).groups)


@pytest.mark.parametrize("plans", [6, pytest.param(32, marks=pytest.mark.slow)])
def test_no_fault_that_leaves_a_ring_changes_a_bit(plans):
    like = settings(max_examples=plans, derandomize=True, database=None, phases=[Phase.generate])
    like(given(st.integers(0, 2**32 - 1))(ends_as_if_nothing_had_happened))()


def ends_as_if_nothing_had_happened(seed: int):
    world, kind, plan = faulted(seed)
    with tempfile.TemporaryDirectory() as folder:
        result = tiny_run.train(
            tiny_run.config(plan, **world, fabric_kind=kind), Path(folder), scored=False
        )
        lines = jsonl.read(Path(folder) / "events.jsonl")
        assert (
            tiny_run.trajectory(Path(folder))
            == tiny_run.without_faults(scored=False, **world).trajectory
        )
    assert result["samples_lost"] == result["samples_repeated"] == 0
    came_from = [line["state_from"] for line in lines if line["event"] == "recovery"]
    if "checkpoint" not in came_from:
        assert result["steps_lost"] == 0
