"""The whole model: on one device and on rings, where sound enters the text, and the published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
import tiny_model
from flax import nnx
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict
from ringed import assert_close, jit, on_ring, outputs_and_gradients, split

from stepjax.audio import mel
from stepjax.data.examples import num_patches
from stepjax.model import step_audio
from stepjax.model.encoder import key_mask
from stepjax.model.group import Alone
from stepjax.model.step_audio import StepAudio

BATCH = tiny_model.batch()
INPUTS = BATCH["audio"], BATCH["samples"], BATCH["tokens"], BATCH["audio_at"]


@pytest.fixture(scope="module")
def model():
    return tiny_model.filled(lambda rngs: StepAudio(tiny_model.config(), rngs=rngs))


@pytest.fixture(scope="module")
def alone(model):
    return outputs_and_gradients(StepAudio.__call__, model, INPUTS, 1, dim=2)


@pytest.mark.parametrize("size", [2, 4])
def test_a_ring_computes_what_one_device_does(model, alone, size):
    assert_close(outputs_and_gradients(StepAudio.__call__, model, INPUTS, size, dim=2), alone, 2e-5)


def test_a_ring_computes_what_one_device_does_in_bfloat16(alone):
    low = tiny_model.filled(lambda rngs: StepAudio(tiny_model.config("bfloat16"), rngs=rngs))
    graph, params, parts = split(low)
    logits = on_ring(
        lambda params, *inputs_and_group: nnx.merge(graph, params)(*inputs_and_group),
        4, [params, *INPUTS], (parts, P(), P(), P(), P()), P(None, None, "tensor"),
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
        module.encoder = lambda mel_BFM, frames_B, group: (mel_BFM, frames_B)  # they show what they are given
        module.adaptor = lambda given, group: given
        return module.listen(audio_BS, samples_B, group)

    mel_BFM, frames_B = on_ring(listen, size, [params, BATCH["audio"], BATCH["samples"]], (parts, P(), P()), P())
    want_BFM = mel.log_mel(BATCH["audio"], BATCH["samples"])
    np.testing.assert_array_equal(frames_B, mel.num_frames(BATCH["samples"]) - 2)
    np.testing.assert_allclose(mel_BFM[:, : want_BFM.shape[1]], want_BFM, atol=5e-4)
    assert not mel_BFM[:, want_BFM.shape[1] :].any()


@pytest.mark.parametrize("size", [1, 4])
def test_sound_lands_exactly_at_audio_at_and_nowhere_else(model, size):
    rng = np.random.default_rng(4)
    audio_BAD = rng.normal(size=(3, 8, 16)).astype(np.float32)
    audio_at_BL = np.where(rng.random((3, 16)) < 0.5, rng.integers(0, 8, (3, 16)), -1).astype(np.int32)
    graph, params, parts = split(model)

    def read(params, group):
        module = nnx.merge(graph, params)
        module.decoder = lambda x_BlD, group: group.gather(x_BlD, dim=1)  # it shows what it is given
        return module.read(BATCH["tokens"], audio_at_BL, audio_BAD, group)

    want_BLD = np.asarray(params["table"]["table_VD"])[BATCH["tokens"]]
    for b, row in enumerate(audio_at_BL):
        for i, frame in enumerate(row):
            if frame >= 0:
                want_BLD[b, i] = audio_BAD[b, frame]
    np.testing.assert_array_equal(on_ring(read, size, [params], (parts,), P()), want_BLD)


# Samples -> frames at 50 Hz, patches that stand for them, as published.
GOLDEN = {400: (3, 1), 800: (4, 1), 1600: (6, 1), 4000: (14, 3), 8000: (26, 6), 12000: (39, 10), 16000: (51, 13),
          24000: (76, 19), 32000: (101, 25), 48000: (151, 38), 80000: (251, 63), 160000: (501, 125),
          400000: (1251, 313), 479680: (1500, 375)}  # fmt: skip


@pytest.mark.parametrize("samples", GOLDEN)
def test_lengths_are_the_published_ones(model, samples):
    keys, patches = GOLDEN[samples]
    frames = int(mel.num_frames(samples))
    assert jax.eval_shape(lambda: key_mask(jnp.array([frames - 2]), frames)).shape == (1, keys)
    assert num_patches(samples) == patches
    audio = jax.ShapeDtypeStruct((1, samples), jnp.float32)
    heard = jax.eval_shape(lambda a: model.listen(a, jnp.array([samples]), Alone()), audio)
    assert heard.shape == (1, -(-frames // 8), 16)
    assert heard.shape[1] >= patches


def test_a_seed_is_a_model():
    def weights(seed):
        model = step_audio.make(tiny_model.config(), seed)
        return model.table.table_VD[...], model.decoder.stack.blocks.mlp.gate_DN[...]

    first, again, other = (jit(weights)(seed) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all()


MINI = ConfigDict(dict(
    dtype="bfloat16", vocab=158_720, adaptor_hidden=2048,
    encoder=dict(mels=128, width=1280, heads=20, hidden=5120, layers=32, remat=True),
    decoder=dict(width=3584, heads=28, kv_heads=4, head_size=128, hidden=18_944, layers=28, norm_eps=1e-6,
                 rope_theta=1e6, remat=True),
))  # fmt: skip

# Step-Audio 2 mini's tensors, {N} for every block.
CHECKPOINT = {
    "model.embed_tokens.weight": (158720, 3584),
    "model.layers.{N}.input_layernorm.weight": (3584,), "model.layers.{N}.post_attention_layernorm.weight": (3584,),
    "model.layers.{N}.self_attn.q_proj.weight": (3584, 3584), "model.layers.{N}.self_attn.q_proj.bias": (3584,),
    "model.layers.{N}.self_attn.k_proj.weight": (512, 3584), "model.layers.{N}.self_attn.k_proj.bias": (512,),
    "model.layers.{N}.self_attn.v_proj.weight": (512, 3584), "model.layers.{N}.self_attn.v_proj.bias": (512,),
    "model.layers.{N}.self_attn.o_proj.weight": (3584, 3584),
    "model.layers.{N}.mlp.gate_proj.weight": (18944, 3584), "model.layers.{N}.mlp.up_proj.weight": (18944, 3584),
    "model.layers.{N}.mlp.down_proj.weight": (3584, 18944),
    "model.norm.weight": (3584,), "lm_head.weight": (158720, 3584),
    "encoder.conv1.weight": (1280, 128, 3), "encoder.conv1.bias": (1280,),
    "encoder.conv2.weight": (1280, 1280, 3), "encoder.conv2.bias": (1280,),
    "encoder.blocks.{N}.attn.query.weight": (1280, 1280), "encoder.blocks.{N}.attn.query.bias": (1280,),
    "encoder.blocks.{N}.attn.key.weight": (1280, 1280),
    "encoder.blocks.{N}.attn.value.weight": (1280, 1280), "encoder.blocks.{N}.attn.value.bias": (1280,),
    "encoder.blocks.{N}.attn.out.weight": (1280, 1280), "encoder.blocks.{N}.attn.out.bias": (1280,),
    "encoder.blocks.{N}.attn_ln.weight": (1280,), "encoder.blocks.{N}.attn_ln.bias": (1280,),
    "encoder.blocks.{N}.mlp_ln.weight": (1280,), "encoder.blocks.{N}.mlp_ln.bias": (1280,),
    "encoder.blocks.{N}.mlp.0.weight": (5120, 1280), "encoder.blocks.{N}.mlp.0.bias": (5120,),
    "encoder.blocks.{N}.mlp.2.weight": (1280, 5120), "encoder.blocks.{N}.mlp.2.bias": (1280,),
    "encoder.after_norm.weight": (1280,), "encoder.after_norm.bias": (1280,),
    "adapter.conv.weight": (1280, 1280, 3), "adapter.conv.bias": (1280,),
    "adapter.linear1.weight": (2048, 1280), "adapter.linear1.bias": (2048,),
    "adapter.linear2.weight": (3584, 2048), "adapter.linear2.bias": (3584,),
}  # fmt: skip


@pytest.fixture(scope="module")
def mini():
    """The published model's tensors by their published names: shapes only, nothing is allocated."""
    return nnx.eval_shape(lambda: published.step_audio(step_audio.make(MINI, 0)))


def test_the_published_config_gives_the_published_tensors(mini):
    blocks = {"model": 28, "encoder": 32}
    want = {
        name.format(N=n): shape
        for name, shape in CHECKPOINT.items()
        for n in range(blocks[name.split(".")[0]] if "{N}" in name else 1)
    }
    assert {name: x.shape for name, x in mini.items()} == want
    assert len(want) == 832 - 1  # all but the positions, which are a formula here


def test_the_published_config_has_the_published_number_of_parameters(mini):
    counts = dict.fromkeys(["encoder", "adapter", "model", "lm_head"], 0)
    for name, x in mini.items():
        counts[name.split(".")[0]] += x.size
    positions = 1500 * 1280
    assert counts["encoder"] + positions == 636_968_960
    assert counts["adapter"] == 14_883_584
    assert counts["model"] + counts["lm_head"] == 7_663_326_720
    assert sum(counts.values()) + positions == 8_315_179_264
