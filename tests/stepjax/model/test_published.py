"""Lengths, tensors and parameter counts are those of the published model."""

import jax
import jax.numpy as jnp
import published
import pytest
import tiny_model
from flax import nnx

from stepjax.audio import mel
from stepjax.data.examples import num_patches
from stepjax.model import step_audio
from stepjax.model.decoder import DecoderConfig
from stepjax.model.encoder import EncoderConfig, key_mask
from stepjax.model.group import Alone
from stepjax.model.step_audio import ModelConfig

# Samples -> frames at 50 Hz, patches that stand for them, as published.
GOLDEN = {
    400: (3, 1),
    800: (4, 1),
    1600: (6, 1),
    4000: (14, 3),
    8000: (26, 6),
    12000: (39, 10),
    16000: (51, 13),
    24000: (76, 19),
    32000: (101, 25),
    48000: (151, 38),
    80000: (251, 63),
    160000: (501, 125),
    400000: (1251, 313),
    479680: (1500, 375),
}


@pytest.mark.parametrize("samples", GOLDEN)
def test_lengths_are_the_published_ones(samples):
    keys, patches = GOLDEN[samples]
    model = nnx.eval_shape(lambda: step_audio.make(tiny_model.config(), tiny_model.VOCAB, 0))
    frames = int(mel.num_frames(samples))
    assert jax.eval_shape(lambda: key_mask(jnp.array([frames - 2]), frames)).shape == (1, keys)
    assert num_patches(samples) == patches
    inputs = jax.ShapeDtypeStruct((1, samples), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    heard = nnx.eval_shape(lambda model, *inputs: model.listen(*inputs, Alone()), model, *inputs)
    assert heard.shape == (1, -(-frames // 8), 16)
    assert heard.shape[1] >= patches


VOCAB = 158_720
MINI = ModelConfig(
    dtype="bfloat16",
    adaptor_hidden=2048,
    encoder=EncoderConfig(mels=128, width=1280, heads=20, hidden=5120, layers=32, remat=True),
    decoder=DecoderConfig(
        width=3584,
        heads=28,
        kv_heads=4,
        head_size=128,
        hidden=18_944,
        layers=28,
        norm_eps=1e-6,
        rope_theta=1e6,
        remat=True,
    ),
)

# Step-Audio 2 mini's tensors, {N} for every block.
CHECKPOINT = {
    "model.embed_tokens.weight": (158720, 3584),
    "model.layers.{N}.input_layernorm.weight": (3584,),
    "model.layers.{N}.post_attention_layernorm.weight": (3584,),
    "model.layers.{N}.self_attn.q_proj.weight": (3584, 3584),
    "model.layers.{N}.self_attn.q_proj.bias": (3584,),
    "model.layers.{N}.self_attn.k_proj.weight": (512, 3584),
    "model.layers.{N}.self_attn.k_proj.bias": (512,),
    "model.layers.{N}.self_attn.v_proj.weight": (512, 3584),
    "model.layers.{N}.self_attn.v_proj.bias": (512,),
    "model.layers.{N}.self_attn.o_proj.weight": (3584, 3584),
    "model.layers.{N}.mlp.gate_proj.weight": (18944, 3584),
    "model.layers.{N}.mlp.up_proj.weight": (18944, 3584),
    "model.layers.{N}.mlp.down_proj.weight": (3584, 18944),
    "model.norm.weight": (3584,),
    "lm_head.weight": (158720, 3584),
    "encoder.conv1.weight": (1280, 128, 3),
    "encoder.conv1.bias": (1280,),
    "encoder.conv2.weight": (1280, 1280, 3),
    "encoder.conv2.bias": (1280,),
    "encoder.blocks.{N}.attn.query.weight": (1280, 1280),
    "encoder.blocks.{N}.attn.query.bias": (1280,),
    "encoder.blocks.{N}.attn.key.weight": (1280, 1280),
    "encoder.blocks.{N}.attn.value.weight": (1280, 1280),
    "encoder.blocks.{N}.attn.value.bias": (1280,),
    "encoder.blocks.{N}.attn.out.weight": (1280, 1280),
    "encoder.blocks.{N}.attn.out.bias": (1280,),
    "encoder.blocks.{N}.attn_ln.weight": (1280,),
    "encoder.blocks.{N}.attn_ln.bias": (1280,),
    "encoder.blocks.{N}.mlp_ln.weight": (1280,),
    "encoder.blocks.{N}.mlp_ln.bias": (1280,),
    "encoder.blocks.{N}.mlp.0.weight": (5120, 1280),
    "encoder.blocks.{N}.mlp.0.bias": (5120,),
    "encoder.blocks.{N}.mlp.2.weight": (1280, 5120),
    "encoder.blocks.{N}.mlp.2.bias": (1280,),
    "encoder.after_norm.weight": (1280,),
    "encoder.after_norm.bias": (1280,),
    "adapter.conv.weight": (1280, 1280, 3),
    "adapter.conv.bias": (1280,),
    "adapter.linear1.weight": (2048, 1280),
    "adapter.linear1.bias": (2048,),
    "adapter.linear2.weight": (3584, 2048),
    "adapter.linear2.bias": (3584,),
}


@pytest.fixture(scope="module")
def mini():
    """The published model's tensors by their published names: shapes only, nothing is allocated."""
    return nnx.eval_shape(lambda: published.step_audio(step_audio.make(MINI, VOCAB, 0)))


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
