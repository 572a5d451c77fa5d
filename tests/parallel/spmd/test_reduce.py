"""Sums are right, have the same bits in any order and grouping, never overflow, waste no bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from parallel.spmd import reduce
from parallel.spmd.mesh import AXES, stand_in

LIMIT = 2**31 - 1
numbers = st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=False)
magnitudes = st.floats(2.0**-60, 2.0**120, width=32)
counts = st.integers(1, 4096)


def bits_of_a_term(terms):
    return reduce.SUM_BITS - int(np.ceil(np.log2(terms)))


def best(terms):
    """The exponent for these terms."""
    return int(reduce.exponents(np.abs(terms).max(), len(terms)))


def total_of(terms, exponent, order, cuts):
    """The sum in another order: terms in groups cut at `cuts`, then the sums of the groups."""
    scale = reduce.scales(exponent)
    groups = np.split(np.asarray(terms)[np.asarray(order)], sorted(cuts))
    subtotals = [
        sum((reduce.to_fixed(t, scale) for t in group), jnp.zeros(3, jnp.int32)) for group in groups
    ]
    return np.asarray(reduce.from_fixed(sum(subtotals[1:], subtotals[0]), scale))


@st.composite
def sums(draw):
    terms = draw(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=6))
    cuts = draw(st.lists(st.integers(0, len(terms)), max_size=3))
    return np.array(terms, np.float32), draw(st.permutations(range(len(terms)))), cuts


@settings(max_examples=60)
@given(sums())
def test_any_order_and_any_grouping_give_the_bits_of_the_twin(case):
    terms, order, cuts = case
    got = total_of(terms, best(terms), order, cuts)
    np.testing.assert_array_equal(got, reduce.fixed_sum_ref(terms, best(terms)).astype(np.float32))


def test_float_sums_would_not_do():
    terms = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    assert (functools.reduce(np.add, terms) != functools.reduce(np.add, terms[::-1])).any()


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_the_number_of_devices_leaves_no_trace(devices):
    terms = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    scale = reduce.scales(best(terms))

    def on_device(block):
        here = reduce.to_fixed(block, scale).sum(axis=0)
        return reduce.from_fixed(jax.lax.psum(here, AXES), scale)

    mesh = stand_in((devices, 1, 1), jax.devices())
    got = jax.jit(jax.shard_map(on_device, mesh=mesh, in_specs=P(AXES), out_specs=P()))(terms)
    np.testing.assert_array_equal(got, reduce.fixed_sum_ref(terms, best(terms)).astype(np.float32))


@given(magnitudes, counts)
def test_the_best_exponent_uses_all_bits_but_one_and_never_overflows(largest, terms):
    exponent = int(reduce.exponents(np.array(largest), terms))
    most = terms * int(np.ceil(np.ldexp(largest, exponent)))  # all terms as large as can be
    assert most <= 2**reduce.SUM_BITS + terms <= LIMIT
    assert np.ldexp(largest, exponent) >= 2.0 ** (bits_of_a_term(terms) - 1)


@given(magnitudes, counts, st.floats(2.0**-reduce.SLACK_BITS, 2.0**reduce.GROWTH_BITS))
def test_what_fits_neither_overflows_nor_loses_more_than_the_slack(before, terms, growth):
    exponent, now = reduce.predict(np.array([before]), terms), before * growth
    if reduce.fits(exponent, np.array([now]), terms):
        scaled = np.ldexp(now, int(exponent[0]))
        assert terms * int(np.ceil(scaled)) <= LIMIT
        assert scaled >= 2.0 ** (bits_of_a_term(terms) - 1 - reduce.SLACK_BITS)


@given(st.lists(magnitudes, min_size=1, max_size=5), counts)
def test_a_step_done_again_at_the_predicted_exponents_fits(largest, terms):
    """So no step is done more than twice."""
    assert reduce.fits(reduce.predict(np.array(largest), terms), np.array(largest), terms)


@given(magnitudes, counts, st.integers(-reduce.GROWTH_BITS, reduce.SLACK_BITS - reduce.GROWTH_BITS))
def test_a_maximum_may_grow_8_fold_and_fall_128_fold_and_no_more(largest, terms, fall):
    in_128_to_256 = np.ldexp(largest, 8 - int(np.frexp(largest)[1]))
    largest = np.array([in_128_to_256], np.float64)
    exponent = reduce.predict(largest, terms)
    assert reduce.fits(exponent, np.ldexp(largest, -fall), terms)
    assert not reduce.fits(exponent, np.ldexp(largest, reduce.GROWTH_BITS + 1), terms)
    assert not reduce.fits(
        exponent, np.ldexp(largest, reduce.GROWTH_BITS - reduce.SLACK_BITS - 1), terms
    )


def test_one_tensor_that_does_not_fit_is_enough():
    exponents = reduce.predict(np.array([1.0, 1.0]), 8)
    assert not reduce.fits(exponents, np.array([1.0, 1000.0]), 8)


def test_tensors_of_zeros_fit_any_exponent_and_sum_to_zero():
    nothing = np.zeros(2)
    for exponents in ([0, 0], [-126, 120], reduce.predict(nothing, 8)):
        assert reduce.fits(np.array(exponents), nothing, 8)
    exponent = int(reduce.predict(nothing, 8)[0])
    np.testing.assert_array_equal(
        total_of(np.zeros((8, 3), np.float32), exponent, range(8), [4]), np.zeros(3)
    )


def test_a_tensor_that_wakes_up_is_summed_again():
    asleep = reduce.predict(np.zeros(1), 8)
    assert not reduce.fits(asleep, np.array([1e-3]), 8)
    assert reduce.fits(reduce.predict(np.array([1e-3]), 8), np.array([1e-3]), 8)


@given(st.floats(0, float(np.finfo(np.float32).max), width=32), counts)
def test_scales_are_exact_powers_of_two_and_so_are_their_inverses(largest, terms):
    exponent = reduce.predict(np.array([largest]), terms)
    (scale,) = reduce.scales(exponent)
    assert scale.dtype == np.float32
    assert float(scale) == 2.0 ** int(exponent[0])
    assert float(np.float32(1) / scale) == 2.0 ** -int(exponent[0]) >= np.finfo(np.float32).tiny


def test_only_tensors_below_1e_27_are_summed_with_fewer_bits():
    exponent = int(reduce.exponents(np.array(1e-27), terms=1))
    assert exponent < reduce.MAX_EXPONENT == reduce.exponents(np.array(1e-28), terms=1)


def test_terms_are_rounded_half_to_even():
    got = reduce.to_fixed(jnp.array([0.5, 1.5, -0.5, -1.5, 2.4]), np.float32(1))
    assert got.tolist() == [0, 2, 0, -2, 2]


def test_the_error_of_a_sum_is_at_most_half_a_unit_of_each_term():
    terms = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
    exact = terms.astype(np.float64).sum(axis=0)
    unit = 2.0 ** -best(terms)
    got = reduce.fixed_sum_ref(terms, best(terms))
    assert (np.abs(got - exact) <= 12 * unit / 2).all()
    assert unit < 1e-7
