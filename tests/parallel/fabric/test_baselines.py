"""Every architecture counts its rings as a plain reading of its rule does, and none beats the
ideal.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel.fabric.baselines import FlexibleRings, architecture
from parallel.fabric.placement import place
from parallel.fabric.topology import KHopLine, KHopRing

NAMES = ("big_switch", "khop2", "khop3", "nvl36", "nvl72", "nvl576", "tpuv4", "sip_ring", "dgx")


def groups_ref(name: str, alive: list[bool], gpus_per_node: int, tensor: int) -> int:
    """GPU by GPU, domain by domain."""
    gpus = [there for there in alive for _ in range(gpus_per_node)]
    islands = {
        "big_switch": len(gpus),
        "nvl36": 36,
        "nvl72": 72,
        "nvl576": 576,
        "dgx": 8,
        "tpuv4": 64,
    }
    size = islands.get(name, tensor)
    domains = [gpus[start : start + size] for start in range(0, len(gpus), size)]
    if name in ("tpuv4", "sip_ring"):
        if tensor > size:
            return sum(domain == [True] * size for domain in domains) // math.ceil(tensor / size)
        slices = [
            d[at : at + tensor] for d in domains for at in range(0, size // tensor * tensor, tensor)
        ]
        return slices.count([True] * tensor)
    return sum(sum(domain) // tensor for domain in domains)


def wasted(name: str, alive, gpus_per_node: int, tensor: int):
    """Healthy GPUs in no ring as a share of all GPUs."""
    in_rings = architecture(name).num_groups(alive, gpus_per_node, tensor) * tensor
    return (alive.sum(axis=-1) * gpus_per_node - in_rings) / (alive.shape[-1] * gpus_per_node)


@st.composite
def states(draw):
    gpus_per_node = draw(st.sampled_from([4, 8]))
    num_nodes = draw(st.integers(8, 80))
    tensor = draw(st.sampled_from([1, 2, 4, 8, 16, 24, 32, 64, 128]))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    return (
        random.random((3, num_nodes)) > draw(st.sampled_from([0.0, 0.05, 0.3, 1.0])),
        gpus_per_node,
        tensor,
    )


@settings(max_examples=120)
@given(states(), st.sampled_from([name for name in NAMES if not name.startswith("khop")]))
def test_switches_and_fixed_rings_count_as_gpu_by_gpu(state, name):
    alive, gpus_per_node, tensor = state
    if tensor % gpus_per_node and gpus_per_node % tensor:
        return
    counted = architecture(name).num_groups(alive, gpus_per_node, tensor)
    assert counted.tolist() == [
        groups_ref(name, row.tolist(), gpus_per_node, tensor) for row in alive
    ]


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_khop_counts_what_place_forms_for_every_failure_set_of_nine_nodes(hops, wraps):
    alive = (np.arange(512)[:, None] >> np.arange(9) & 1).astype(bool)
    topology = (KHopRing if wraps else KHopLine)(9, hops)
    for nodes_per_group in (2, 3):
        counted = FlexibleRings(hops, wraps).num_groups(alive, 4, 4 * nodes_per_group)
        formed = [
            len(place(topology, np.flatnonzero(~row), nodes_per_group).groups) for row in alive
        ]
        assert counted.tolist() == formed


@settings(max_examples=40)
@given(
    st.integers(9, 200),
    st.integers(1, 4),
    st.booleans(),
    st.floats(0, 0.5),
    st.integers(1, 6),
    st.integers(0, 999),
)
def test_khop_counts_what_place_forms_in_larger_fabrics(
    num_nodes, hops, wraps, ratio, nodes_per_group, seed
):
    alive = np.random.default_rng(seed).random((2, num_nodes)) > ratio
    topology = (KHopRing if wraps else KHopLine)(num_nodes, hops)
    formed = [len(place(topology, np.flatnonzero(~row), nodes_per_group).groups) for row in alive]
    assert FlexibleRings(hops, wraps).num_groups(alive, 4, 4 * nodes_per_group).tolist() == formed


@settings(max_examples=60)
@given(states())
def test_big_switch_is_never_beaten_and_longer_reach_never_wastes_more(state):
    alive, gpus_per_node, tensor = state
    if alive.shape[1] < 9:
        return
    shares = {name: wasted(name, alive, gpus_per_node, tensor) for name in NAMES}
    assert all((shares["big_switch"] <= other).all() for other in shares.values())
    reach = [wasted(f"khop{hops}", alive, gpus_per_node, tensor) for hops in (1, 2, 3, 4)]
    assert all((longer <= shorter).all() for shorter, longer in zip(reach, reach[1:], strict=False))
    assert all((share >= 0).all() for share in shares.values())


def test_what_the_remainders_of_domains_cost_without_a_fault():
    alive = np.ones(720, bool)
    lost = {
        (name, t): round(float(wasted(name, alive, 4, t)), 4)
        for name in NAMES
        for t in (16, 32, 64)
    }
    assert (
        lost["nvl36", 16] == lost["nvl36", 32] == lost["nvl72", 16] == lost["nvl72", 64] == 0.1111
    )
    assert lost["nvl36", 64] == 1 and lost["dgx", 16] == 1
    assert lost["nvl576", 64] == lost["tpuv4", 32] == lost["sip_ring", 64] == lost["khop2", 32] == 0


def test_states_of_any_shape_are_counted():
    alive = np.random.default_rng(0).random((2, 3, 36)) > 0.2
    for name in NAMES:
        found = architecture(name).num_groups(alive, 4, 8)
        assert found.shape == (2, 3)
        assert found[1, 2] == architecture(name).num_groups(alive[1, 2], 4, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: architecture("torus"), "there is no architecture 'torus': take big_switch, dgx"),
        (lambda: architecture("khop0"), "no architecture 'khop0'"),
        (
            lambda: architecture("nvl72").num_groups(np.ones(9, bool), 4, 6),
            "tensor=6 GPUs do not fit nodes of gpus",
        ),
        (
            lambda: architecture("nvl72").num_groups(np.ones(9, bool), 4, 0),
            "take a multiple of 4, or a divisor",
        ),
        (
            lambda: architecture("khop3").num_groups(np.ones(9, bool), 2, 4),
            "hops=3 needs 3 OCSTrx bundles in a node",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
