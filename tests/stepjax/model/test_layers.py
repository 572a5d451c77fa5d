"""Norms, positions, stacks and the vocabulary table against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_model
from flax import nnx
from ringed import assert_close, jit, outputs_and_gradients

from stepjax.model.decoder import SwiGLU
from stepjax.model.group import Alone
from stepjax.model.layers import LayerNorm, RMSNorm, Stack, Table, rotate, sinusoids

X = np.random.default_rng(0).normal(loc=1, scale=3, size=(2, 5, 16)).astype(np.float32)


def test_rms_norm_divides_by_the_root_of_the_mean_square():
    norm = tiny_model.filled(lambda rngs: RMSNorm(16, 1e-3))
    x, scale = X.astype(np.float64), np.asarray(norm.scale_D[...], np.float64)
    want = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-3) * scale
    np.testing.assert_allclose(norm(X), want, rtol=1e-5, atol=1e-6)


def test_layer_norm_subtracts_the_mean_and_divides_by_the_deviation():
    norm = tiny_model.filled(lambda rngs: LayerNorm(16))
    x, scale, shift = (np.asarray(v, np.float64) for v in (X, norm.scale_D[...], norm.shift_D[...]))
    want = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(
        x.var(axis=-1, keepdims=True) + 1e-5
    ) * scale + shift
    np.testing.assert_allclose(norm(X), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [lambda rngs: RMSNorm(16, 1e-6), lambda rngs: LayerNorm(16)])
def test_norms_keep_the_type_and_compute_in_float32(make):
    norm = tiny_model.filled(make)
    low = norm(jnp.asarray(X, jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    exact = norm(jnp.asarray(X, jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_array_equal(low, exact.astype(jnp.bfloat16))


def rotate_ref(x_LK, theta):
    """Pairs (i, i + K / 2) as complex numbers, turned by position * theta ** (-2 i / K)."""
    half = x_LK.shape[1] // 2
    z = x_LK[:, :half] + 1j * x_LK[:, half:]
    z = z * np.exp(1j * np.arange(len(x_LK))[:, None] * theta ** (-np.arange(half) / half))
    return np.concatenate([z.real, z.imag], axis=1)


@pytest.mark.parametrize("theta", [10_000.0, 1_000_000.0])
def test_rotary_positions_turn_pairs_as_complex_numbers(theta):
    x_BLHK = np.random.default_rng(1).normal(size=(2, 300, 3, 8)).astype(np.float32)
    want = np.stack(
        [np.stack([rotate_ref(x[:, h], theta) for h in range(3)], axis=1) for x in x_BLHK]
    )
    np.testing.assert_allclose(rotate(x_BLHK, theta), want, atol=1e-4)


def test_rotated_products_depend_on_the_distance_alone():
    q_K, k_K = np.random.default_rng(2).normal(size=(2, 8)).astype(np.float32)
    q_LK, k_LK = rotate(np.tile(np.stack([q_K, k_K]), (1, 40, 1, 1)), 100.0)[0].transpose(1, 0, 2)
    score_LM = np.asarray(q_LK @ k_LK.T)
    for distance in range(-39, 40):
        along = np.diagonal(score_LM, distance)
        np.testing.assert_allclose(along, np.full_like(along, along[0]), atol=1e-4)


@pytest.mark.parametrize("length, width", [(1, 4), (7, 16), (1500, 1280)])
def test_sinusoids_are_whispers(length, width):
    w = np.exp(-np.arange(width // 2) * np.log(10_000) / (width // 2 - 1))
    want = np.concatenate([f(np.arange(length)[:, None] * w) for f in (np.sin, np.cos)], axis=1)
    np.testing.assert_allclose(
        sinusoids(length, width), want, atol=2e-4
    )  # float32 angles up to 1500


def stack(rngs, remat=False):
    return Stack(lambda rngs: SwiGLU(tiny_model.config().decoder, rngs=rngs), 3, remat, rngs=rngs)


def test_a_stack_is_its_blocks_one_after_another():
    module = tiny_model.filled(stack)
    graph, params = nnx.split(module.blocks)

    def one_by_one(x):
        for i in range(3):
            x = nnx.merge(graph, jax.tree.map(lambda p: p[i], params))(x, Alone())
        return x

    got, want = (np.asarray(jit(f)(X)) for f in (lambda x: module(x, Alone()), one_by_one))
    assert_close(got, want, 1e-6)


def test_blocks_of_a_stack_start_out_different():
    gate = np.asarray(jit(lambda: stack(nnx.Rngs(params=0)).blocks.gate_DN[...])())
    assert gate.shape == (3, 16, 24)
    assert len(np.unique(gate)) == gate.size


def test_remat_changes_no_value_and_no_gradient():
    kept, again = (
        outputs_and_gradients(
            Stack.__call__, tiny_model.filled(lambda rngs: stack(rngs, remat)), [X], 1
        )
        for remat in (False, True)
    )
    assert_close(again, kept, 1e-6)


@pytest.fixture(scope="module")
def table():
    return tiny_model.filled(lambda rngs: Table(32, 16, rngs=rngs))


TOKENS = np.random.default_rng(3).integers(0, 32, size=(3, 8)).astype(np.int32)


def test_a_table_gives_each_token_its_row(table):
    np.testing.assert_array_equal(
        table(TOKENS, jnp.float32, Alone()), np.asarray(table.table_VD[...])[TOKENS]
    )


@pytest.mark.parametrize("size", [2, 4])
def test_a_table_split_over_a_ring_gives_the_same_rows_to_the_bit(table, size):
    def forward(module, tokens_BL, group):
        return module(tokens_BL, jnp.float32, group)

    (got, grads), (want, want_grads) = (
        outputs_and_gradients(forward, table, [TOKENS], n) for n in (size, 1)
    )
    np.testing.assert_array_equal(got, want)
    assert_close(grads, want_grads, 1e-6)
