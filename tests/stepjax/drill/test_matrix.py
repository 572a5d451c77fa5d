"""Rounds that are drawn can be played, and the same seed draws the same ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import drill
from parallel.elastic.processes import Limits
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopLine, KHopRing
from parallel.spmd.mesh import Layout
from stepjax.drill.matrix import KINDS, Ground, drawn
from stepjax.train.check import check

FOUR = Ground(KHopLine(4, hops=2), Layout(tensor=4), 2, steps=8, save_every=3)
NINE = Ground(KHopRing(9, hops=2), Layout(tensor=4), 2, steps=20, save_every=5)


@settings(max_examples=100)
@given(st.sampled_from([FOUR, NINE]), st.integers(0, 2**32), st.integers(0, 200))
def test_every_round_is_a_run_that_can_be_trained(ground, seed, number):
    round = drawn(ground, seed, number)
    config = drill.get_config()
    config.fabric.kind = "line" if ground is FOUR else "ring"
    config.fabric.num_nodes = ground.topology.num_nodes
    config.steps, config.checkpoint.every = ground.steps, ground.save_every
    config.seed, config.faults = round.seed, str(round.plan)
    assert check(config)[2] == round.plan


@given(st.integers(0, 2**32))
def test_every_kind_comes_once_before_any_comes_again(seed):
    kinds = [drawn(FOUR, seed, number).kind for number in range(2 * len(KINDS))]
    assert sorted(kinds[: len(KINDS)]) == sorted(kinds[len(KINDS) :]) == sorted(KINDS)


def test_the_same_seed_plays_the_same_rounds_and_another_seed_plays_others():
    rounds = {seed: [drawn(FOUR, seed, number) for number in range(20)] for seed in (0, 1)}
    assert rounds[0] == [drawn(FOUR, 0, number) for number in range(20)]
    assert rounds[0] != rounds[1]
    assert len({round.seed for round in rounds[0]}) == 20


def test_a_round_does_not_depend_on_how_many_there_are():
    assert drawn(FOUR, 5, 13) == [drawn(FOUR, 5, number) for number in range(14)][13]


@pytest.mark.parametrize(
    ("plan", "shapes"),
    [
        ("", {(2, 1, 4)}),
        ("lose 1 during 2", {(2, 1, 4), (1, 1, 4)}),
        ("lose 1 during 2; back 1 before 4", {(2, 1, 4), (1, 1, 4)}),
        ("lose 1 before 2; lose 2 before 2", None),  # 0 and 3 do not reach each other
        ("lose 1 before 2; lose 0 before 3", {(2, 1, 4), (1, 1, 4)}),  # it is a spare
        ("lose 1 before 2; lose 0 during 3", None),  # and does not come to a moment in a step
        ("lose 0 before 2; lose 1 before 2", {(2, 1, 4), (1, 1, 4)}),
    ],
)
def test_shapes_by_hand(plan, shapes):
    assert FOUR.shapes(FaultPlan.parse(plan)) == shapes


def test_a_flapping_node_crashes_once_more_than_it_is_started_again():
    rng = np.random.default_rng(0)
    plan = KINDS["flapping"].draw(FOUR, rng)
    crashes = [fault for fault in plan.faults if fault.kind == "crash"]
    assert len(crashes) == Limits().returns + 1
    assert len({fault.node for fault in plan.faults}) == 1
    assert plan.away(FOUR.steps) == {crashes[0].node}


def test_where_there_is_no_room_a_sentence_says_so():
    one_ring = Ground(KHopLine(2, hops=1), Layout(tensor=4), 2, steps=8, save_every=3)
    with pytest.raises(ValueError, match="2 nodes and 8 steps leave no room for a round where"):
        drawn(one_ring, 0, 0)
