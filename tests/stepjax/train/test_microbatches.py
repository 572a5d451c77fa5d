"""Microbatches are spread evenly over rings, and their results come back in order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stepjax.train.microbatches import in_microbatches, in_order, num_slots


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 6))
def test_microbatches_come_back_in_the_order_of_the_batch(number, rows, num_rings):
    x = 1 + np.arange(number * rows * 2).reshape(number * rows, 2)
    split = in_microbatches({"x": x}, rows, num_rings)["x"]
    assert split.shape == (num_rings * num_slots(number, num_rings), rows, 2)
    assert (in_order(split, num_rings)[:number].reshape(x.shape) == x).all()
    assert (in_order(split, num_rings)[number:] == 0).all()


@given(st.integers(1, 100), st.integers(1, 100))
def test_no_loop_has_a_single_slot_or_more_than_it_needs(number, num_rings):
    slots = num_slots(number, num_rings)
    assert slots >= 2 and slots * num_rings >= number
    assert slots == 2 or (slots - 1) * num_rings < number


@given(st.integers(1, 12), st.integers(1, 6))
def test_the_work_is_spread_as_evenly_as_it_can_be(number, num_rings):
    split = in_microbatches({"x": np.ones((number, 1))}, 1, num_rings)["x"].reshape(num_rings, -1)
    assert np.ptp(split.sum(axis=1)) <= 1
