"""Sums whose bits do not depend on grouping, so that a run ends alike with any number of replicas.

Floating-point sums depend on their order; integer sums do not. A term is scaled by a power of two,
rounded to an int32, and from there on added exactly, in any order and over any number of devices.
The power comes from the largest magnitude among all terms (a maximum is exact, too) with room for
the number of terms. It has to be known before the first term is added, so the host predicts it from
the step before and has the step done again in the rare case that the prediction was off (`fits`);
both are functions of the trajectory alone.

  N number of tensors   e exponents: term * 2**e is an integer of at most 31 - log2(terms) bits
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

SUM_BITS = 30  # |sum| < 2**30 leaves a bit of room below int32's limit for rounding
# From one step to the next a maximum may grow 8-fold (2**GROWTH_BITS) or fall 128-fold
# (2**(SLACK_BITS - GROWTH_BITS)); beyond that the step is done again. In a sum of a thousand terms
# each has 20 bits; after a 128-fold fall, the largest term uses 10 of them.
GROWTH_BITS = 3
SLACK_BITS = 10
MAX_EXPONENT = 120  # 2**e and 2**-e stay normal float32 numbers


def exponents(max_abs_N: np.ndarray, terms: int) -> np.ndarray:
    """The largest exponents at which `terms` terms of at most `max_abs_N` can be added in int32.

    >>> exponents(np.array([1.0, 0.75, 0.0]), terms=4).tolist()
    [27, 28, 120]
    """
    _, k = np.frexp(np.asarray(max_abs_N, np.float64))  # max_abs < 2**k
    e = SUM_BITS - int(np.ceil(np.log2(terms))) - k
    return np.where(
        np.asarray(max_abs_N) > 0, np.clip(e, -MAX_EXPONENT, MAX_EXPONENT), MAX_EXPONENT
    ).astype(np.int32)


def predict(max_abs_N: np.ndarray, terms: int) -> np.ndarray:
    """Exponents for the next step, from the magnitudes of this one."""
    return exponents(max_abs_N, terms) - GROWTH_BITS


def fits(exponents_N: np.ndarray, max_abs_N: np.ndarray, terms: int) -> bool:
    """Whether a sum taken at these exponents neither overflowed nor threw precision away."""
    best = exponents(max_abs_N, terms)
    empty = np.asarray(max_abs_N) == 0
    return bool(np.all(empty | ((exponents_N <= best) & (exponents_N >= best - SLACK_BITS))))


def scales(exponents_N: np.ndarray) -> np.ndarray:
    """2**e as float32, exactly."""
    powers: np.ndarray = np.ldexp(np.float32(1), exponents_N).astype(np.float32)
    return powers


def to_fixed(x: jax.Array, scale: ArrayLike) -> jax.Array:
    """A float32 term as an int32 in units of 1 / `scale`, rounded half to even."""
    return jnp.round(x * scale).astype(jnp.int32)


def from_fixed(total: jax.Array, scale: ArrayLike) -> jax.Array:
    """The float32 value of an int32 sum taken in units of 1 / `scale`."""
    return total.astype(jnp.float32) * (1 / scale)  # exact: `scale` is a power of two


def fixed_sum_ref(terms: list[np.ndarray], exponent: int) -> np.ndarray:
    """The same sum in Python's unbounded integers."""
    whole = [
        np.rint(np.ldexp(np.asarray(t, np.float64), exponent)).astype(np.int64).astype(object)
        for t in terms
    ]
    total = np.stack(whole).sum(axis=0).astype(np.float64)
    value: np.ndarray = np.ldexp(total, -exponent)
    return value
