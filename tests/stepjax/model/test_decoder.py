"""The decoder on one device and on rings, its attention written out in NumPy, and its arrow of
time.
"""

import dataclasses

import numpy as np
import pytest
import tiny_model
from flax import nnx
from ringed import assert_close, jit, outputs_and_gradients

from stepjax.model.decoder import Decoder, DecoderAttention, DecoderConfig, SwiGLU
from stepjax.model.group import Alone
from stepjax.model.layers import part

X = np.random.default_rng(0).normal(size=(3, 8, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def decoder():
    return tiny_model.filled(lambda rngs: Decoder(tiny_model.config().decoder, rngs=rngs))


def forward(module, x_BLD, group):
    return part(
        module(part(x_BLD, group, dim=1), group), group, dim=1
    )  # it takes a part and gives the whole


@pytest.fixture(scope="module")
def alone(decoder):
    return outputs_and_gradients(forward, decoder, [X], 1)


@pytest.mark.parametrize("size", [2, 4])
def test_a_ring_decodes_as_one_device_does(decoder, alone, size):
    assert_close(outputs_and_gradients(forward, decoder, [X], size), alone, 1e-5)


def weights(module):
    return {
        name: np.asarray(value, np.float64)
        for name, value in nnx.to_pure_dict(nnx.state(module)).items()
    }


def turn(x_LK, theta):
    """Rotary positions on pairs (i, i + K / 2), as complex numbers."""
    half = x_LK.shape[1] // 2
    angle_Lk = np.arange(len(x_LK))[:, None] * theta ** (-np.arange(half) / half)
    z_Lk = (x_LK[:, :half] + 1j * x_LK[:, half:]) * np.exp(1j * angle_Lk)
    return np.concatenate([z_Lk.real, z_Lk.imag], axis=1)


def attention_ref(module, x_LD, theta):
    """One row, head by head and position by position, in float64."""
    w, y_LD = weights(module), np.zeros_like(x_LD, np.float64)
    heads, kv_heads = w["q_DHK"].shape[1], w["k_DGK"].shape[1]
    for h in range(heads):
        g = h // (heads // kv_heads)
        q_LK = turn(x_LD @ w["q_DHK"][:, h] + w["q_bias_HK"][h], theta)
        k_LK = turn(x_LD @ w["k_DGK"][:, g] + w["k_bias_GK"][g], theta)
        v_LK = x_LD @ w["v_DGK"][:, g] + w["v_bias_GK"][g]
        for i in range(len(x_LD)):
            share = np.exp(k_LK[: i + 1] @ q_LK[i] / np.sqrt(q_LK.shape[1]))
            y_LD[i] += share / share.sum() @ v_LK[: i + 1] @ w["out_HKD"][h]
    return y_LD


def test_attention_is_the_formula_written_out():
    config = tiny_model.config().decoder
    attention = tiny_model.filled(lambda rngs: DecoderAttention(config, rngs=rngs))
    want = [attention_ref(attention, x, config.rope_theta) for x in X]
    np.testing.assert_allclose(jit(lambda x: attention(x, Alone()))(X), want, atol=1e-5)


def test_swiglu_is_the_formula_written_out():
    mlp = tiny_model.filled(lambda rngs: SwiGLU(tiny_model.config().decoder, rngs=rngs))
    w = weights(mlp)
    gate, up = X @ w["gate_DN"], X @ w["up_DN"]
    want = (gate / (1 + np.exp(-gate)) * up) @ w["down_ND"]
    np.testing.assert_allclose(jit(lambda x: mlp(x, Alone()))(X), want, atol=1e-5)


def test_no_token_sees_the_future(decoder):
    """Row i of the batch has another token in place i, and must equal the plain row up to there, to
    the bit.
    """
    x_BLD = np.tile(X[:1], (9, 1, 1))
    x_BLD[np.arange(8), np.arange(8)] += 1
    hidden_BLD = np.asarray(jit(lambda x: decoder(x, Alone()))(x_BLD))
    same_BL = (hidden_BLD == hidden_BLD[8:]).all(axis=-1)
    np.testing.assert_array_equal(same_BL[:8], np.tri(8, 8, -1, dtype=bool))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kv_heads": 3}, "model.decoder.heads=8 is not a multiple of model.decoder.kv_heads=3;"),
        ({"head_size": 3}, "model.decoder.head_size=3 is odd, and rotary positions turn pairs of"),
        ({"norm_eps": 0.0}, "model.decoder.norm_eps=0.0 cannot be used; give a number from 1e-12"),
        ({"rope_theta": float("inf")}, "model.decoder.rope_theta=inf cannot be used; give a num"),
        ({"width": 16.0}, "model.decoder.width=16.0 cannot be used; give a whole number from 1"),
    ],
)
def test_a_decoder_that_cannot_be_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        DecoderConfig(**dataclasses.asdict(tiny_model.config().decoder) | changes)
