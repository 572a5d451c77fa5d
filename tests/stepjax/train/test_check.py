"""A config becomes what a run forms first, or is refused before anything is made."""

import pytest
import tiny_run

from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopLine, KHopRing
from parallel.spmd.mesh import Layout
from stepjax.train.check import check


@pytest.mark.parametrize("kind, topology", [("ring", KHopRing(6, 2)), ("line", KHopLine(6, 2))])
def test_a_good_config_becomes_fabric_layout_and_plan(kind, topology):
    config = tiny_run.config("lose 1 before 2; back 1 before 4", fabric_kind=kind, mesh_fsdp=2)
    assert check(config) == (topology, Layout(tensor=4, fsdp=2), FaultPlan().lose(1, 2).back(1, 4))


def test_another_config_is_refused():
    with pytest.raises(ValueError, match="steps=0 cannot be used"):
        check(tiny_run.config(steps=0))
