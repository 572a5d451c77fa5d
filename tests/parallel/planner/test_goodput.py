"""A job's time and work, by hand and by properties that every policy has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel.fabric.trace import Trace
from parallel.planner.goodput import POLICIES, Recovery, Stretch, follow, goodput, stretches
from parallel.planner.worlds import Cluster

TIMES = Recovery(step=10, checkpoint_every=1000, restart=300, rebuild=20)


def test_a_restart_redoes_what_came_after_the_checkpoint():
    life = [Stretch(2600, 8, False), Stretch(2400, 8, True)]
    found = follow(life, "restart", 8, TIMES)
    assert found.recovering == 300 / 5000 and found.running == 4700 / 5000 and found.waiting == 0
    assert found.work_lost == 600 / 5000 and found.goodput == pytest.approx(4100 / 5000)


def test_spares_take_over_and_lose_a_part_of_a_step():
    life = [Stretch(2604, 9, False), Stretch(2396, 8, True)]
    found = follow(life, "spares", 8, TIMES)
    assert found.recovering == 20 / 5000 and found.work_lost == 4 / 5000


def test_a_fixed_job_waits_while_it_finds_too_few_groups():
    life = [Stretch(1000, 8, False), Stretch(3000, 7, True), Stretch(1000, 8, False)]
    for policy, pause in (("restart", 300), ("spares", 20)):
        found = follow(life, policy, 8, TIMES)
        assert found.waiting == 0.6 and found.recovering == pause / 5000
        assert found.goodput == pytest.approx((2000 - pause) / 5000)


def test_a_shrinking_job_runs_on_what_is_left_and_grows_again():
    life = [Stretch(1000, 8, False), Stretch(3000, 6, True), Stretch(1000, 9, False)]
    found = follow(life, "shrink", 8, TIMES)
    assert found.waiting == 0 and found.recovering == 40 / 5000
    assert found.goodput == pytest.approx((1000 + 2980 * 6 / 8 + 980) / 5000)


def test_a_second_fault_in_a_recovery_starts_it_anew():
    life = [Stretch(1000, 8, False), Stretch(100, 8, True), Stretch(900, 8, True)]
    assert follow(life, "restart", 8, TIMES).recovering == pytest.approx(400 / 2000)


def test_a_fault_elsewhere_or_while_waiting_is_not_noticed():
    life = [Stretch(1000, 9, False), Stretch(1000, 8, False)]
    assert follow(life, "restart", 8, TIMES).goodput == 1
    assert follow([Stretch(10, 7, False), Stretch(10, 7, True)], "restart", 8, TIMES).waiting == 1


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.floats(1, 1e5), st.integers(0, 12), st.booleans()), min_size=1, max_size=30
    )
)
def test_time_adds_up_and_shrinking_never_does_less_than_waiting(life):
    life = [Stretch(*stretch) for stretch in life]
    found = {policy: follow(life, policy, 8, TIMES) for policy in POLICIES}
    for account in found.values():
        assert account.running + account.recovering + account.waiting == pytest.approx(1)
        assert 0 <= account.work_lost <= account.running + 1e-9
        assert account.goodput <= account.running + 1e-9
    assert (
        found["shrink"].waiting
        <= found["spares"].waiting
        == pytest.approx(found["restart"].waiting)
    )


def test_the_faults_of_a_job_are_those_of_its_nodes():
    cluster = Cluster(num_gpus=64, gpus_per_node=4)
    faults = Trace(
        16, 10.0, np.array([0, 1, 2]), np.array([1.0, 2.0, 5.0]), np.array([3.0, 2.0, 6.0])
    )
    luck = np.full(6, 0.6)
    full, half = (stretches(cluster, "big_switch", 8, wanted, faults, luck) for wanted in (8, 4))
    assert [stretch.capacity for stretch in full] == [8, 7, 7, 8, 7, 8]
    assert [stretch.hit for stretch in full] == [False, True, True, False, True, False]
    assert [stretch.hit for stretch in half] == [
        False
    ] * 6  # the job has half of the nodes, and luck
    assert sum(stretch.seconds for stretch in full) == 10 * 86400


def test_every_architecture_is_accounted_for_and_the_ideal_is_best():
    cluster = Cluster(num_gpus=288)
    names = ["big_switch", "khop2", "nvl72", "tpuv4"]
    rows = goodput(cluster, None, names, [32], [0.85], TIMES, draws=2, seed=0)
    assert len(rows) == len(names) * len(POLICIES)
    best = {row.policy: row.goodput for row in rows if row.architecture == "big_switch"}
    assert all(row.goodput <= best[row.policy] + 1e-3 for row in rows)
    assert best["restart"] < best["spares"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: follow([], "pray", 8, TIMES),
            "there is no policy 'pray': take restart, spares, shrink",
        ),
        (lambda: Recovery(1, 1, float("nan"), 1), "these are seconds, finite and not below 0"),
        (lambda: Recovery(0, 1, 1, 1), "a step and the time between checkpoints are more than 0"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
