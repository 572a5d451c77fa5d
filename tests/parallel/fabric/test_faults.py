"""Fault plans: written, read back, checked."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel.fabric.faults import LOSSES, MOMENTS, Fault, FaultPlan

losses = st.builds(
    Fault,
    st.sampled_from(LOSSES),
    st.integers(0, 20),
    st.integers(0, 50),
    st.sampled_from(MOMENTS),
)
returns = st.builds(Fault, st.just("back"), st.integers(0, 20), st.integers(0, 50))
plans = st.builds(FaultPlan, st.lists(losses | returns, max_size=12).map(tuple))


@given(plans)
def test_a_plan_reads_back_from_its_text(plan):
    assert FaultPlan.parse(str(plan)) == plan


def test_text_of_a_plan():
    plan = FaultPlan().back(3, step=9).lose(3, step=5).lose(5, step=12, moment="during")
    assert str(plan) == "lose 3 before 5; back 3 before 9; lose 5 during 12"
    assert FaultPlan.parse(" Lose 3 before 5;back 3 before 9 ; lose 5  during 12") == plan
    assert FaultPlan.parse("") == FaultPlan.parse("  ") == FaultPlan()
    assert str(FaultPlan()) == ""


def test_away_by_hand():
    plan = FaultPlan.parse(
        "lose 3 before 5; lose 1 saving 6; lose 0 during 7; lose 4 recovering 7; back 3 before 9"
    )
    assert [sorted(plan.away(step)) for step in range(4, 10)] == [
        [],
        [3],
        [3],
        [0, 1, 3, 4],
        [0, 1, 3, 4],
        [0, 1, 4],
    ]


@given(plans)
def test_however_a_node_fails_it_is_away_until_it_is_given_back(plan):
    lost = [dataclasses.replace(f, kind="lose") if f.loses else f for f in plan.faults]
    assert all(FaultPlan(tuple(lost)).away(step) == plan.away(step) for step in range(52))


def test_only_what_nobody_asked_for_is_a_failure_of_the_node():
    plan = FaultPlan.parse("lose 0 before 1; stop 1 before 1; crash 2 before 1; back 0 before 2")
    assert [fault.kind for fault in plan.faults if not fault.asked] == ["stop", "crash"]


def test_faults_of_one_moment():
    plan = FaultPlan().lose(3, step=5).lose(4, step=5, moment="saving").lose(6, step=5)
    assert [event.node for event in plan.at(5)] == [3, 6]
    assert [event.node for event in plan.at(5, "saving")] == [4]
    assert plan.at(6) == ()


@pytest.mark.parametrize(
    "text, message",
    [
        ("lose 9 before 5", "'lose 9 before 5': there is no node 9, only nodes 0 to 7."),
        (
            "lose 3 before 5; lose 3 during 6",
            "'lose 3 during 6': node 3 is already away; let it come back first.",
        ),
        ("back 3 before 9", "'back 3 before 9': node 3 is not away; lose it first."),
    ],
)
def test_impossible_plans_are_named(text, message):
    with pytest.raises(ValueError) as error:
        FaultPlan.parse(text).check(num_nodes=8)
    assert str(error.value) == message


def test_a_possible_plan_passes():
    FaultPlan.parse("lose 3 before 5; back 3 before 9; lose 3 during 9").check(num_nodes=8)


@pytest.mark.parametrize(
    "text", ["loose 3 before 5", "lose 3", "lose -1 before 2", "lose 3 before 5;", "lose 3 at 5"]
)
def test_text_that_is_no_plan_is_refused(text):
    with pytest.raises(ValueError, match="no part of a fault plan|names no moment"):
        FaultPlan.parse(text)


def test_nodes_only_come_back_before_a_step():
    with pytest.raises(ValueError, match="nodes come back before it"):
        FaultPlan.parse("back 3 during 5")
