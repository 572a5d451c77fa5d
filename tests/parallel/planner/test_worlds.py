"""Random worlds: the same seed gives the same draws, and means weigh time."""

import numpy as np
import pytest

from parallel.planner.worlds import (
    STATES,
    Cluster,
    World,
    at_ratio,
    deviation,
    means,
    outages,
    over_time,
    quantiles,
)

SMALL = Cluster(num_gpus=96, gpus_per_node=4)


def test_draws_are_the_same_however_many_there_are():
    few, many = (over_time(SMALL, None, draws, seed=3) for draws in (2, 4))
    for one, other in zip(few, many, strict=False):
        assert (one.alive == other.alive).all() and (one.weight == other.weight).all()
    assert at_ratio(SMALL, 0.1, 1, seed=0)[0].alive.shape == (STATES, 24)
    one, other = (at_ratio(SMALL, 0.1, 1, seed)[0].alive for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_means_and_quantiles_weigh_time():
    values, weight = np.array([0.1, 0.5, 0.9]), np.array([98.0, 1.5, 0.5])
    assert quantiles(values, weight, (0.5, 0.99, 1.0)) == [0.1, 0.5, 0.9]
    assert means([values], [World(np.ones((3, 1), bool), weight)]) == [pytest.approx(0.11)]
    assert deviation([1.0]) == 0 and deviation([1.0, 3.0]) == pytest.approx(2**0.5)


def test_a_job_takes_whole_rings_and_at_least_one():
    assert [SMALL.num_groups(8, scale) for scale in (0.01, 0.5, 0.99, 1.0)] == [1, 6, 11, 12]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Cluster(10, 4), "num_gpus=10 are no whole number of nodes of gpus_per_node=4"),
        (lambda: outages(Cluster(12, 4), None, 0, 0), "num_gpus=12 must be a multiple of 8"),
        (lambda: outages(Cluster(48, 16), None, 0, 0), "gpus_per_node=16 a divisor"),
        (lambda: over_time(SMALL, None, 0, 0), "draws=0 leaves nothing to look at"),
        (lambda: over_time(SMALL, None, 1, -1), "seed=-1 is negative"),
        (lambda: SMALL.num_groups(8, 1.5), "job_scale=1.5 is no share of the cluster"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
