"""Replays: the published waste comes out, and every share is what a plain count over time says."""

from pathlib import Path

import numpy as np
import pytest

from parallel.fabric.placement import place
from parallel.fabric.topology import KHopRing
from parallel.fabric.trace import read_trace
from parallel.planner.replay import (
    STATES,
    Cluster,
    States,
    contenders,
    deviation,
    drawn,
    groups_of_job,
    job_scale,
    outages,
    quantiles,
    replayed,
    waiting,
    waste,
    waste_vs_fault_ratio,
)

PUBLISHED_TRACE = Path(__file__).parents[3] / "../shared/data/infinitehbd_trace/fault_trace.json"
published = pytest.mark.skipif(
    not PUBLISHED_TRACE.exists(), reason="the published trace is not on this machine"
)

SMALL = Cluster(num_gpus=96, gpus_per_node=4)
ALL = contenders([1, 2, 3])


def by_name(rows: list[dict]) -> dict[str, dict]:
    return {row["architecture"]: row for row in rows}


@published
def test_the_published_trace_wastes_what_the_paper_says():
    """TP-32 on 2,880 GPUs in nodes of 4: K-hop 0.53 %, NVL-72 10.04 %, TPUv4 7.56 %."""
    draws = replayed(Cluster(), read_trace(PUBLISHED_TRACE), draws=8, seed=0)
    found = by_name(
        waste(Cluster(), draws, ["khop2", "khop3", "nvl72", "tpuv4", "big_switch"], [32])
    )
    for name, told in {"khop2": 0.0053, "khop3": 0.0053, "nvl72": 0.1004, "tpuv4": 0.0756}.items():
        assert abs(found[name]["mean"] - told) <= max(0.05 * told, 2 * found[name]["sd_over_draws"])
    assert min(found["nvl72"]["mean"], found["tpuv4"]["mean"]) > 10 * found["khop2"]["mean"]


def test_waste_is_the_mean_over_time_of_a_plain_count():
    draws = replayed(SMALL, None, draws=3, seed=5)
    means = []
    for alive, days in draws:
        ring, total = KHopRing(24, 2), 0.0
        for state, lasts in zip(alive, days, strict=True):
            groups = place(ring, np.flatnonzero(~state), 4).groups
            total += lasts * (state.sum() - 4 * len(groups)) / 24
        means.append(total / days.sum())
    row = waste(SMALL, draws, ["khop2"], [16])[0]
    assert row["mean"] == pytest.approx(np.mean(means))
    assert row["sd_over_draws"] == pytest.approx(np.std(means, ddof=1))
    assert 0 <= row["p50"] <= row["p99"] <= row["max"]


def test_waste_by_hand():
    alive = np.ones((2, 24), bool)
    alive[1, :5] = False
    draws = [States(alive, np.array([3.0, 1.0]))]  # 96 GPUs for three days, then 76 for one
    rows = by_name(waste(SMALL, draws, ["big_switch", "nvl36", "tpuv4"], [16]))
    assert rows["big_switch"]["mean"] == pytest.approx(0.25 * 12 / 96)
    assert rows["nvl36"]["mean"] == pytest.approx(0.75 * (4 + 4 + 8) / 96 + 0.25 * (0 + 4 + 8) / 96)
    assert rows["tpuv4"]["mean"] == pytest.approx(0.25 * 12 / 96)
    assert rows["nvl36"]["max"] == pytest.approx(16 / 96) and rows["nvl36"]["sd_over_draws"] == 0


def test_usable_and_waiting_follow_from_the_same_states():
    draws = replayed(SMALL, None, draws=4, seed=1)
    usable = by_name(job_scale(SMALL, draws, ALL, [8]))
    wasted = by_name(waste(SMALL, draws, ALL, [8]))
    healthy = np.mean([np.average(s.alive.mean(axis=1), weights=s.weight) for s in draws])
    for name in ALL:
        assert usable[name]["usable_mean"] + wasted[name]["mean"] == pytest.approx(healthy)
        assert usable[name]["usable_min"] <= usable[name]["usable_mean"]
    rows = waiting(SMALL, draws, ALL, [8], [0.5, 0.9, 1.0])
    for name in ALL:
        waits = [row["waiting"] for row in rows if row["architecture"] == name]
        assert waits == sorted(waits)
    ideal = [row["waiting"] for row in rows if row["architecture"] == "big_switch"]
    whole = np.mean([np.average(~s.alive.all(axis=1), weights=s.weight) for s in draws])
    assert ideal[-1] == pytest.approx(whole)  # all GPUs in use: every fault makes the job wait


def test_faults_at_a_ratio_find_the_remainders_first():
    rows = waste_vs_fault_ratio(
        Cluster(), [0.0, 0.05, 0.1], 2, 0, ["khop2", "khop3", "nvl72", "big_switch"], [32]
    )
    at = {(row["architecture"], row["fault_ratio"]): row["mean"] for row in rows}
    assert (
        at["nvl72", 0.0] == pytest.approx(8 / 72) and at["khop2", 0.0] == at["big_switch", 0.0] == 0
    )
    assert at["nvl72", 0.05] < at["nvl72", 0.0] < at["nvl72", 0.1]
    assert at["khop2", 0.05] == pytest.approx(0.0092, abs=0.0012)  # E[max(B, 1)] (m - 1) / 2N
    assert at["khop3", 0.05] == pytest.approx(at["big_switch", 0.05], abs=0.0005)


def test_draws_are_the_same_however_many_there_are():
    few, many = (replayed(SMALL, None, draws, seed=3) for draws in (2, 4))
    for one, other in zip(few, many, strict=False):
        assert (one.alive == other.alive).all() and (one.weight == other.weight).all()
    assert drawn(SMALL, 0.1, 1, seed=0)[0].alive.shape == (STATES, 24)
    assert not np.array_equal(
        drawn(SMALL, 0.1, 1, seed=0)[0].alive, drawn(SMALL, 0.1, 1, seed=1)[0].alive
    )


def test_quantiles_weigh_time():
    values, weight = np.array([0.1, 0.5, 0.9]), np.array([98.0, 1.5, 0.5])
    assert quantiles(values, weight, (0.5, 0.99, 1.0)) == [0.1, 0.5, 0.9]
    assert deviation([1.0]) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Cluster(10, 4), "num_gpus=10 are no whole number of nodes of gpus_per_node=4"),
        (lambda: outages(Cluster(12, 4), None, 0, 0), "num_gpus=12 must be a multiple of 8"),
        (lambda: outages(Cluster(48, 16), None, 0, 0), "gpus_per_node=16 a divisor"),
        (lambda: replayed(SMALL, None, 0, 0), "draws=0 leaves nothing to look at"),
        (lambda: replayed(SMALL, None, 1, -1), "seed=-1 is negative"),
        (lambda: groups_of_job(SMALL, 8, 1.5), "job_scale=1.5 is no share of the cluster"),
        (
            lambda: waste(SMALL, drawn(SMALL, 0.1, 1, 0), ["khop2"], [6]),
            "tensor=6 GPUs do not fit nodes",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
