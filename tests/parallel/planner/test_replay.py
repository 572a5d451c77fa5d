"""Replays: the published waste comes out, and every share is what a plain count over time says."""

from pathlib import Path

import numpy as np
import pytest

from parallel.fabric.placement import place
from parallel.fabric.topology import KHopRing
from parallel.fabric.trace import read_trace
from parallel.planner.replay import contenders, job_scale, waiting, waste, waste_vs_fault_ratio
from parallel.planner.worlds import Cluster, World, at_ratio, over_time

PUBLISHED_TRACE = Path(__file__).parents[3] / "../shared/data/infinitehbd_trace/fault_trace.json"
published = pytest.mark.skipif(
    not PUBLISHED_TRACE.exists(), reason="the published trace is not on this machine"
)

SMALL = Cluster(num_gpus=96, gpus_per_node=4)
ALL = contenders([1, 2, 3])


def by_name(rows: list) -> dict:
    return {row.architecture: row for row in rows}


@published
def test_the_published_trace_wastes_what_the_paper_says():
    """TP-32 on 2,880 GPUs in nodes of 4: K-hop 0.53 %, NVL-72 10.04 %, TPUv4 7.56 %."""
    draws = over_time(Cluster(), read_trace(PUBLISHED_TRACE), draws=8, seed=0)
    found = by_name(
        waste(Cluster(), draws, ["khop2", "khop3", "nvl72", "tpuv4", "big_switch"], [32])
    )
    for name, told in {"khop2": 0.0053, "khop3": 0.0053, "nvl72": 0.1004, "tpuv4": 0.0756}.items():
        assert abs(found[name].mean - told) <= max(0.05 * told, 2 * found[name].sd_over_draws)
    assert min(found["nvl72"].mean, found["tpuv4"].mean) > 10 * found["khop2"].mean


def test_waste_is_the_mean_over_time_of_a_plain_count():
    draws = over_time(SMALL, None, draws=3, seed=5)
    means = []
    for alive, days in draws:
        ring, total = KHopRing(24, 2), 0.0
        for state, lasts in zip(alive, days, strict=True):
            groups = place(ring, np.flatnonzero(~state), 4).groups
            total += lasts * (state.sum() - 4 * len(groups)) / 24
        means.append(total / days.sum())
    row = waste(SMALL, draws, ["khop2"], [16])[0]
    assert row.mean == pytest.approx(np.mean(means))
    assert row.sd_over_draws == pytest.approx(np.std(means, ddof=1))
    assert 0 <= row.p50 <= row.p99 <= row.max


def test_waste_by_hand():
    alive = np.ones((2, 24), bool)
    alive[1, :5] = False
    draws = [World(alive, np.array([3.0, 1.0]))]  # 96 GPUs for three days, then 76 for one
    rows = by_name(waste(SMALL, draws, ["big_switch", "nvl36", "tpuv4"], [16]))
    assert rows["big_switch"].mean == pytest.approx(0.25 * 12 / 96)
    assert rows["nvl36"].mean == pytest.approx(0.75 * (4 + 4 + 8) / 96 + 0.25 * (0 + 4 + 8) / 96)
    assert rows["tpuv4"].mean == pytest.approx(0.25 * 12 / 96)
    assert rows["nvl36"].max == pytest.approx(16 / 96) and rows["nvl36"].sd_over_draws == 0


def test_usable_and_waiting_follow_from_the_same_states():
    draws = over_time(SMALL, None, draws=4, seed=1)
    usable = by_name(job_scale(SMALL, draws, ALL, [8]))
    wasted = by_name(waste(SMALL, draws, ALL, [8]))
    healthy = np.mean([np.average(s.alive.mean(axis=1), weights=s.weight) for s in draws])
    for name in ALL:
        assert usable[name].usable_mean + wasted[name].mean == pytest.approx(healthy)
        assert usable[name].usable_min <= usable[name].usable_mean
    rows = waiting(SMALL, draws, ALL, [8], [0.5, 0.9, 1.0])
    for name in ALL:
        waits = [row.waiting for row in rows if row.architecture == name]
        assert waits == sorted(waits)
    ideal = [row.waiting for row in rows if row.architecture == "big_switch"]
    whole = np.mean([np.average(~s.alive.all(axis=1), weights=s.weight) for s in draws])
    assert ideal[-1] == pytest.approx(whole)  # all GPUs in use: every fault makes the job wait


def test_faults_at_a_ratio_find_the_remainders_first():
    rows = waste_vs_fault_ratio(
        Cluster(), [0.0, 0.05, 0.1], 2, 0, ["khop2", "khop3", "nvl72", "big_switch"], [32]
    )
    at = {(row.architecture, row.fault_ratio): row.mean for row in rows}
    assert (
        at["nvl72", 0.0] == pytest.approx(8 / 72) and at["khop2", 0.0] == at["big_switch", 0.0] == 0
    )
    assert at["nvl72", 0.05] < at["nvl72", 0.0] < at["nvl72", 0.1]
    assert at["khop2", 0.05] == pytest.approx(0.0092, abs=0.0012)  # E[max(B, 1)] (m - 1) / 2N
    assert at["khop3", 0.05] == pytest.approx(at["big_switch", 0.05], abs=0.0005)


def test_rings_that_do_not_fit_a_node_are_refused():
    with pytest.raises(ValueError, match="tensor=6 GPUs do not fit nodes"):
        waste(SMALL, at_ratio(SMALL, 0.1, 1, 0), ["khop2"], [6])
