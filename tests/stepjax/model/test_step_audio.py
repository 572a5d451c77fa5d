"""The whole model: on one device and on rings, and where sound enters the text."""

import numpy as np
import pytest
import tiny_model
from flax import nnx
from jax.sharding import PartitionSpec as P
from ringed import assert_close, jit, on_ring, outputs_and_gradients, split

from stepjax.audio import mel
from stepjax.data.examples import num_patches
from stepjax.model import step_audio
from stepjax.model.group import Alone
from stepjax.model.step_audio import Inputs, StepAudio

BATCH = tiny_model.batch()
INPUTS = Inputs.of(BATCH)


@pytest.fixture(scope="module")
def model():
    config = tiny_model.config()
    return tiny_model.filled(lambda rngs: StepAudio(config, tiny_model.VOCAB, rngs=rngs))


@pytest.fixture(scope="module")
def alone(model):
    return outputs_and_gradients(StepAudio.__call__, model, [INPUTS], 1, dim=2)


@pytest.mark.parametrize("size", [2, 4])
def test_a_ring_computes_what_one_device_does(model, alone, size):
    assert_close(
        outputs_and_gradients(StepAudio.__call__, model, [INPUTS], size, dim=2), alone, 2e-5
    )


def test_a_ring_computes_what_one_device_does_in_bfloat16(alone):
    config = tiny_model.config("bfloat16")
    low = tiny_model.filled(lambda rngs: StepAudio(config, tiny_model.VOCAB, rngs=rngs))
    graph, params, parts = split(low)
    logits = on_ring(
        lambda params, inputs, group: nnx.merge(graph, params)(inputs, group),
        4, [params, INPUTS], (parts, P()), P(None, None, "tensor"),
    )  # fmt: skip
    assert logits.dtype == np.float32
    assert_close(logits, alone[0], 0.05)


@pytest.fixture(scope="module")
def listen(model):
    return jit(lambda audio_BS, samples_B: model.listen(audio_BS, samples_B, Alone()))


def test_a_row_sounds_alike_however_long_its_neighbours_are(listen):
    audio, samples = BATCH["audio"], BATCH["samples"]
    wide, narrow = listen(audio, samples), listen(audio[1:, : samples[1]], samples[1:])
    for row in (1, 2):
        patches = num_patches(samples[row])
        np.testing.assert_allclose(narrow[row - 1, :patches], wide[row, :patches], atol=2e-5)


@pytest.mark.parametrize("size", [1, 4])
def test_the_encoder_hears_the_mel_of_every_row_and_all_but_two_of_its_frames(model, size):
    graph, params, parts = split(model)

    def listen(params, audio_BS, samples_B, group):
        module = nnx.merge(graph, params)
        module.encoder = lambda mel_BFM, frames_B, group: (
            mel_BFM,
            frames_B,
        )  # they show what they are given
        module.adaptor = lambda given, group: given
        return module.listen(audio_BS, samples_B, group)

    mel_BFM, frames_B = on_ring(
        listen, size, [params, BATCH["audio"], BATCH["samples"]], (parts, P(), P()), P()
    )
    want_BFM = mel.log_mel(BATCH["audio"], BATCH["samples"])
    np.testing.assert_array_equal(frames_B, mel.num_frames(BATCH["samples"]) - 2)
    np.testing.assert_allclose(mel_BFM[:, : want_BFM.shape[1]], want_BFM, atol=5e-4)
    assert not mel_BFM[:, want_BFM.shape[1] :].any()


@pytest.mark.parametrize("size", [1, 4])
def test_sound_lands_exactly_at_audio_at_and_nowhere_else(model, size):
    rng = np.random.default_rng(4)
    audio_BAD = rng.normal(size=(3, 8, 16)).astype(np.float32)
    audio_at_BL = np.where(rng.random((3, 16)) < 0.5, rng.integers(0, 8, (3, 16)), -1).astype(
        np.int32
    )
    graph, params, parts = split(model)

    def read(params, group):
        module = nnx.merge(graph, params)
        module.decoder = lambda x_BlD, group: group.gather(
            x_BlD, dim=1
        )  # it shows what it is given
        return module.read(BATCH["tokens"], audio_at_BL, audio_BAD, group)

    want_BLD = np.asarray(params["table"]["table_VD"])[BATCH["tokens"]]
    for b, row in enumerate(audio_at_BL):
        for i, frame in enumerate(row):
            if frame >= 0:
                want_BLD[b, i] = audio_BAD[b, frame]
    np.testing.assert_array_equal(on_ring(read, size, [params], (parts,), P()), want_BLD)


def test_a_seed_is_a_model():
    def weights(seed):
        model = step_audio.make(tiny_model.config(), tiny_model.VOCAB, seed)
        return model.table.table_VD[...], model.decoder.stack.blocks.mlp.gate_DN[...]

    first, again, other = (jit(weights)(seed) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all()
