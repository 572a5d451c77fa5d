"""The adaptor on one device and on rings, and its formula written out in NumPy."""

import math

import jax
import numpy as np
import pytest
import tiny_model
from flax import nnx
from ringed import assert_close, jit, outputs_and_gradients

from stepjax.model.adaptor import Adaptor
from stepjax.model.group import Alone
from stepjax.model.layers import part

X = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def adaptor():
    return tiny_model.filled(lambda rngs: Adaptor(16, 12, 20, rngs=rngs))


def adaptor_ref(module, x_TW):
    """One row, frame by frame, in float64."""
    w = {
        name: np.asarray(value, np.float64)
        for name, value in nnx.to_pure_dict(nnx.state(module)).items()
    }
    gelu = np.vectorize(lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))))
    padded_TW = np.pad(x_TW, ((1, 1), (0, 0)))
    frames = [
        sum(padded_TW[t + k] @ w["conv_3WC"][k] for k in range(3)) for t in range(0, len(x_TW), 2)
    ]
    h_AP = gelu(np.array(frames) + w["conv_bias_C"]) @ w["in_CP"] + w["in_bias_P"]
    return np.maximum(h_AP, 0) @ w["out_PD"] + w["out_bias_D"]


def test_it_is_the_formula_written_out(adaptor):
    got = jit(lambda x: adaptor(x, Alone()))(X)
    np.testing.assert_allclose(got, [adaptor_ref(adaptor, x) for x in X], atol=1e-4)


def test_a_ring_adapts_as_one_device_does(adaptor):
    def forward(module, x_BLD, group):
        return part(
            module(part(x_BLD, group, dim=1), group), group, dim=1
        )  # it takes a part and gives the whole

    alone = outputs_and_gradients(forward, adaptor, [X], 1)
    for size in (2, 4):
        assert_close(outputs_and_gradients(forward, adaptor, [X], size), alone, 1e-5)


@pytest.mark.parametrize("frames", range(1, 17))
def test_half_as_many_frames_come_out_rounded_up(adaptor, frames):
    out = jax.eval_shape(lambda: adaptor(X[:, :frames], Alone()))
    assert out.shape == (3, (frames - 1) // 2 + 1, 20)
