"""A trace becomes a plan that can be played, by hand and as a whole."""

import json

import numpy as np
import pytest

from configs import soak as config
from parallel.fabric.topology import KHopLine
from parallel.fabric.trace import PUBLISHED, Trace, random_trace
from parallel.spmd.mesh import Layout
from stepjax.drill import drill, soak
from stepjax.drill.matrix import Ground

GROUND = Ground(KHopLine(4, hops=2), Layout(tensor=4), 2, steps=20, save_every=5)


def test_days_become_steps_by_hand():
    node, start, end = [5, 5, 7], [10.0, 51.0, 99.0], [20.0, 51.2, 140.0]
    trace = Trace(9, 100.0, np.array(node), np.array(start), np.array(end))
    plan, notes = soak.compressed(trace, GROUND)
    assert str(plan) == (
        "lose 0 during 2; back 0 before 4; lose 0 during 10; back 0 before 11; lose 1 during 19"
    )
    assert "a step stands for 5 days." in notes[0]
    assert "3 of their 3 outages are played" in notes[1]


@pytest.mark.parametrize("seed", range(8))
def test_a_trace_at_the_published_rates_can_be_played(seed):
    trace = random_trace(400, 348.0, PUBLISHED, np.random.default_rng(seed))
    plan, _ = soak.compressed(trace, GROUND)
    plan.check(4)
    assert plan.faults and GROUND.shapes(plan) is not None


def test_a_trace_is_read_from_its_file_and_bounded_in_time(tmp_path):
    fault = {"Level": "a", "Class": "b", "Desc": "c"}
    lines = [
        {"node_id": "x", "event_time": day, "event_type": what, "fault_type": fault}
        for day, what in ((29.0, "fault_start"), (58.0, "fault_end"))
    ]
    (tmp_path / "trace.json").write_text(json.dumps(lines))
    planned = drill.soak(config.get_config(), tmp_path / "trace.json", seed=3)
    (only,) = planned.rounds
    assert (only.kind, str(only.plan)) == ("trace", "lose 0 during 10; back 0 before 20")
    assert planned.limit_s == 1200
    with pytest.raises(ValueError, match="none.json: cannot read the trace"):
        drill.soak(config.get_config(), tmp_path / "none.json", seed=3)
