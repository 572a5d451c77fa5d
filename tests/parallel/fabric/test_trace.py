"""Faults become outages, and random traces have the rates that were asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from traces import SHORT, event

from parallel.fabric.trace import (
    PUBLISHED,
    Rates,
    Trace,
    fit,
    iid_faults,
    parse_trace,
    pick,
    random_trace,
    read_trace,
    split,
    timeline,
)

PUBLISHED_TRACE = Path(__file__).parents[3] / "../shared/data/infinitehbd_trace/fault_trace.json"
published = pytest.mark.skipif(
    not PUBLISHED_TRACE.exists(), reason="the published trace is not on this machine"
)


def parse(events: list, num_nodes: int = 400, days: float = 10) -> Trace:
    return parse_trace(json.dumps(events, indent=1).encode(), num_nodes, days)


def outages(trace: Trace) -> list[tuple[int, float, float]]:
    return sorted(zip(trace.node.tolist(), trace.start.tolist(), trace.end.tolist(), strict=True))


def test_overlapping_faults_are_one_outage_and_open_ones_last_to_the_end():
    trace = parse(SHORT, num_nodes=6, days=10)
    a, b, c, d = range(4)
    assert outages(trace) == [(a, 1, 4), (a, 6, 8.5), (b, 1.5, 3), (c, 5, 5), (d, 7, 10)]
    assert trace.faulty_share == pytest.approx((3 + 2.5 + 1.5 + 0 + 3) / 60)


def test_the_timeline_by_hand():
    line = timeline(parse(SHORT, num_nodes=5, days=8))
    assert line.day.tolist() == [0, 1, 1.5, 3, 4, 5, 6, 7]
    assert line.lasts.sum() == 8
    away = [np.flatnonzero(~alive).tolist() for alive in line.alive]
    assert away == [[], [0], [0, 1], [0], [], [], [0], [0, 3]]


def test_events_may_stand_in_any_order_of_time():
    ordered = [
        event("a", 1.0, "start"),
        event("b", 2.0, "start"),
        event("a", 3.0, "end"),
        event("b", 4.0, "end"),
    ]
    read = [outages(parse(entries)) for entries in (ordered, ordered[::-1])]
    assert read[0] == read[1] == [(0, 1, 3), (1, 2, 4)]


def test_a_trace_without_a_fault_is_read():
    trace = parse_trace(b" [ ]\n", num_nodes=3)
    assert trace.faulty_share == 0
    assert timeline(trace).alive.tolist() == [[True] * 3]


def test_missing_files_and_small_clusters_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="none.json: cannot read the trace: No such file or directory"
    ):
        read_trace(tmp_path / "none.json")
    with pytest.raises(ValueError, match="cannot read the trace: Is a directory"):
        read_trace(tmp_path)
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(SHORT))
    with pytest.raises(
        ValueError, match="trace.json: the trace names 4 nodes, but .* num_nodes=3; raise it"
    ):
        read_trace(path, num_nodes=3)


@published
def test_the_published_trace_is_read_as_it_is_known():
    trace = read_trace(PUBLISHED_TRACE)
    assert len(trace.node) == 582 and len(set(trace.node.tolist())) == 231
    assert trace.faulty_share == pytest.approx(0.0232, abs=5e-5)
    assert (trace.end - trace.start).sum() == pytest.approx(3231.3, abs=0.05)
    assert ((trace.end - trace.start) == 0).sum() == 14
    rates = fit(trace)
    assert rates.mtbf == pytest.approx(PUBLISHED.mtbf, rel=0.01)
    assert rates.mttr == pytest.approx(PUBLISHED.mttr, rel=0.01)


@published
def test_halves_of_servers_fail_half_as_often():
    """On 4-GPU nodes the faulty share is 1.15 % and its 99th percentile near the paper's 3.67 %."""
    rng, trace = np.random.default_rng(0), read_trace(PUBLISHED_TRACE)
    shares, peaks = [], []
    for _ in range(20):
        line = timeline(split(pick(trace, 360, rng), 2, rng, trace.faulty_share))
        away = 1 - line.alive.mean(axis=1)
        order = np.argsort(away)
        shares.append(np.average(away, weights=line.lasts))
        peaks.append(
            away[order][np.searchsorted(np.cumsum(line.lasts[order]), 0.99 * line.lasts.sum())]
        )
    assert np.mean(shares) == pytest.approx(0.01152, abs=0.0003)
    assert np.mean(peaks) == pytest.approx(0.0377, abs=0.003)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_bayes_split_gives_every_part_its_probability(parts):
    share, count = 0.3, 60_000
    trace = Trace(count, 10.0, np.arange(count), np.zeros(count), np.ones(count))
    nodes = split(trace, parts, np.random.default_rng(0), share)
    q = 1 - (1 - share) ** (1 / parts)
    faulty = np.zeros((count, parts), bool)
    faulty[nodes.node // parts, nodes.node % parts] = True
    assert faulty.any(axis=1).all()  # a fault is somewhere
    np.testing.assert_allclose(faulty.mean(axis=0), q / share, atol=0.01)
    assert nodes.num_nodes == parts * count


def test_picked_nodes_keep_their_outages():
    trace = Trace(40, 10.0, np.arange(40), np.arange(40) / 8, np.arange(40) / 8 + 1)
    cluster = pick(trace, 25, np.random.default_rng(0))
    assert cluster.num_nodes == 25 and sorted(cluster.node.tolist()) == list(range(25))
    assert len(set(cluster.start.tolist())) == 25
    with pytest.raises(ValueError, match="a trace of 40 nodes is too small for 41"):
        pick(trace, 41, np.random.default_rng(0))


@pytest.mark.parametrize("rates", [Rates(20.0, 2.0), Rates(20.0, 2.0, 0.5), PUBLISHED])
def test_random_traces_have_the_rates_they_were_asked_for(rates):
    drawn = random_trace(4000, 50 * rates.mtbf, rates, np.random.default_rng(0))
    assert drawn.faulty_share == pytest.approx(rates.faulty_share, rel=0.03)
    found = fit(drawn)
    assert found.mtbf == pytest.approx(rates.mtbf, rel=0.03)
    assert found.mttr == pytest.approx(rates.mttr, rel=0.03)
    assert found.median_repair == pytest.approx(
        rates.median_repair or rates.mttr * np.log(2), rel=0.05
    )
    at_first = ((drawn.start <= 1e-3) & (drawn.end > 1e-3)).sum() / drawn.num_nodes
    assert at_first == pytest.approx(
        rates.faulty_share, rel=0.25
    )  # the start is like any other day


def test_iid_faults_have_their_ratio():
    alive = iid_faults(2000, 0.07, 50, np.random.default_rng(0))
    assert alive.shape == (50, 2000)
    assert 1 - alive.mean() == pytest.approx(0.07, abs=0.003)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Rates(0, 1), "mtbf=0 and mttr=1 must be positive numbers of days"),
        (lambda: Rates(1, float("nan")), "must be positive"),
        (lambda: Rates(10, 1, 2), "median_repair=2 must lie between 0 and mttr=1"),
        (
            lambda: iid_faults(9, 1.5, 1, np.random.default_rng(0)),
            "fault_ratio=1.5 is no share of nodes",
        ),
        (
            lambda: fit(Trace(3, 10.0, np.array([1]), np.ones(1), np.ones(1))),
            "no fault lasts has no rates",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
