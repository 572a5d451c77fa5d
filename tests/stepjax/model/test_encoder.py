"""The encoder on one device and on rings, its mask, and its attention written out in NumPy."""

import numpy as np
import pytest
import tiny_model
from flax import nnx
from ringed import assert_close, jit, outputs_and_gradients

from stepjax.model.encoder import Encoder, EncoderAttention, EncoderConfig, key_mask
from stepjax.model.group import Alone

FRAMES = np.array([32, 13, 2], np.int32)
MEL = np.random.default_rng(0).normal(size=(3, 32, 128)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return tiny_model.filled(lambda rngs: Encoder(tiny_model.config().encoder, rngs=rngs))


@pytest.fixture(scope="module")
def encode(encoder):
    return jit(lambda mel_BFM, frames_B: encoder(mel_BFM, frames_B, Alone()))


@pytest.fixture(scope="module")
def alone(encoder):
    return outputs_and_gradients(Encoder.__call__, encoder, (MEL, FRAMES), 1)


@pytest.mark.parametrize("size", [2, 4])
def test_a_ring_encodes_as_one_device_does(encoder, alone, size):
    assert_close(outputs_and_gradients(Encoder.__call__, encoder, (MEL, FRAMES), size), alone, 1e-5)


def attention_ref(module, x_TW, mask_T):
    """One row, head by head, in float64."""
    w = {
        name: np.asarray(value, np.float64)
        for name, value in nnx.to_pure_dict(nnx.state(module)).items()
    }
    y_TW = np.zeros_like(x_TW) + w["out_bias_W"]
    for h in range(w["query_WHK"].shape[1]):
        q_TK = x_TW @ w["query_WHK"][:, h] + w["query_bias_HK"][h]
        k_TK = x_TW @ w["key_WHK"][:, h]
        v_TK = x_TW @ w["value_WHK"][:, h] + w["value_bias_HK"][h]
        score_TS = np.exp(q_TK @ k_TK.T / np.sqrt(q_TK.shape[1]) + mask_T)
        y_TW += score_TS / score_TS.sum(axis=1, keepdims=True) @ v_TK @ w["out_HKW"][h]
    return y_TW


@pytest.fixture(scope="module")
def attention():
    return tiny_model.filled(lambda rngs: EncoderAttention(16, 4, 1.0, rngs=rngs))


def test_attention_is_the_formula_written_out(attention):
    x_BTW = np.random.default_rng(1).normal(size=(3, 16, 16)).astype(np.float32)
    mask_BT = np.asarray(key_mask(FRAMES, 32))
    want = [attention_ref(attention, x, mask) for x, mask in zip(x_BTW, mask_BT, strict=True)]
    got = jit(lambda x, mask: attention(x, mask, Alone()))(x_BTW, mask_BT)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_only_keys_are_masked(attention):
    """Row i of the batch has another frame in place i; the last row is the plain one."""
    x_BTW = np.tile(np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32), (17, 1, 1))
    x_BTW[np.arange(16), np.arange(16)] += 1
    mask_BT = key_mask(np.full(17, 13), 32)  # the first 6 of 16 keys are audio
    y_BTW = np.asarray(jit(lambda x: attention(x, mask_BT, Alone()))(x_BTW))
    changed_BT = (y_BTW != y_BTW[16:]).any(axis=-1)
    assert changed_BT[:6].all()  # all listen to a valid frame
    np.testing.assert_array_equal(
        changed_BT[6:16, 6:], np.eye(10, dtype=bool)
    )  # padding asks, and is not heard
    assert not changed_BT[6:16, :6].any()


@pytest.mark.parametrize("frames", range(1, 13))
def test_the_mask_is_the_published_slice(frames):
    """Of T frames, entries 1, 3, 5 ... where T is even and 0, 2, 4 ... where it is odd."""
    valid = np.arange(frames) < np.arange(frames + 1)[:, None]
    published = valid[:, 1::2] if frames % 2 == 0 else valid[:, 0::2]
    mask = np.asarray(jit(key_mask, static_argnums=1)(np.arange(frames + 1), frames))
    np.testing.assert_array_equal(mask, np.where(published, np.float32(0), np.float32(-1e10)))


def num_features(frames):
    """Features of a row of `frames` valid frames, as published."""
    return (frames + 1) // 2 // 2


def test_what_lies_beyond_a_row_never_changes_its_features(encode):
    lengths = np.array([2, 3, 4, 5, 6, 7, 8, 13], np.int32)
    inside = (np.arange(32) < lengths[:, None] + 2)[
        ..., None
    ]  # a row of T mel frames has T - 2 valid ones
    noise = np.tile(MEL[1], (len(lengths), 1, 1))
    clean, dirty = (
        np.asarray(encode(np.where(inside, MEL[0], beyond), lengths)) for beyond in (0, 100 * noise)
    )
    for n, a, b in zip(lengths, clean, dirty, strict=True):
        np.testing.assert_array_equal(a[: num_features(n)], b[: num_features(n)])
        assert (a[num_features(n) + 1 :] != b[num_features(n) + 1 :]).any()


def test_a_row_is_encoded_alike_however_far_it_is_padded(encode):
    """Up to the feature after its last one, which the adaptor's convolution looks at."""
    lengths = np.array([2, 3, 4, 5, 6, 7, 8, 13], np.int32)
    row_BFM = np.where((np.arange(16) < lengths[:, None] + 2)[..., None], MEL[0, :16], 0)
    short, long = (
        np.asarray(encode(np.pad(row_BFM, [(0, 0), (0, more), (0, 0)]), lengths))
        for more in (0, 16)
    )
    for n, a, b in zip(lengths, short, long, strict=True):
        np.testing.assert_allclose(a[: num_features(n) + 1], b[: num_features(n) + 1], atol=1e-5)


def test_a_row_without_a_valid_frame_is_finite(encode):
    assert np.isfinite(encode(np.tile(MEL[:1], (8, 1, 1)), np.zeros(8, np.int32))).all()


SMALLEST = dict(mels=128, width=4, heads=1, hidden=1, layers=1, remat=False)


def test_the_smallest_encoder_can_be_computed():
    module = nnx.eval_shape(lambda: Encoder(EncoderConfig(**SMALLEST), rngs=nnx.Rngs(params=0)))
    out = nnx.eval_shape(lambda module: module(MEL, FRAMES, Alone()), module)
    assert out.shape == (3, 8, 4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 2}, "model.encoder.width=2 cannot be used; give a whole number from 4 to"),
        ({"width": 5}, "model.encoder.width=5 is odd, and positions are pairs of a sine and a"),
        ({"heads": 3}, "model.encoder.width=4 is not a multiple of model.encoder.heads=3; each"),
        ({"layers": 0}, "model.encoder.layers=0 cannot be used; give a whole number from 1 to"),
        ({"remat": 1}, "model.encoder.remat=1 cannot be used; give True or False."),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        EncoderConfig(**SMALLEST | changes)
