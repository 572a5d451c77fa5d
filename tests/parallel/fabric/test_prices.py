"""The cost table of InfinitePOD, to the cent."""

import pytest

from parallel.fabric.prices import PRICED, aggregate_dollars, interconnect, khop

TABLE = {  # dollars and watts per GPU, dollars and watts per GBps
    "tpuv4": (1567.2, 19.39, 5.22, 0.06),
    "nvl36": (9563.2, 75.95, 10.63, 0.08),
    "nvl72": (9563.2, 75.95, 10.63, 0.08),
    "nvl576": (30417.6, 413.45, 33.80, 0.46),
    "khop2": (2626.8, 48.10, 3.28, 0.06),
    "khop3": (3740.6, 72.05, 4.68, 0.09),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_comes_out_to_the_cent(name):
    found = interconnect(name)
    row = found.dollars, found.watts, found.dollars / found.bandwidth, found.watts / found.bandwidth
    assert tuple(round(value, 2) for value in row) == TABLE[name]
    assert set(PRICED) < set(TABLE)


def test_two_hops_cost_31_percent_of_nvl72_per_bandwidth():
    per_gbps = {
        name: interconnect(name).dollars / interconnect(name).bandwidth
        for name in ("khop2", "nvl72")
    }
    assert round(per_gbps["khop2"] / per_gbps["nvl72"], 2) == 0.31


def test_longer_reach_costs_more_and_larger_nodes_share_it():
    assert khop(1).dollars == khop(2).dollars < khop(3).dollars < khop(4).dollars
    assert khop(2, gpus_per_node=8).dollars < khop(2, gpus_per_node=4).dollars


def test_idle_gpus_are_paid_for():
    assert (
        aggregate_dollars(khop(2), gpu_dollars=28_000, waste=0.01, faulty=0.02)
        == khop(2).dollars + 840
    )


@pytest.mark.parametrize("name", ["sip_ring", "big_switch", "khop5"])
def test_no_price_is_invented(name):
    with pytest.raises(ValueError, match="no price is known|hops=5 needs 5 OCSTrx bundles"):
        interconnect(name)
