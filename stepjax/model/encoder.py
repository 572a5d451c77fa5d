"""The audio encoder of Step-Audio 2: two convolutions, pre-LN blocks, pooling to 25 Hz.

Whisper's encoder (Radford et al. 2022) with an average over pairs of frames at the end, as in
Qwen2-Audio.

  B batch   F mel frames at 100 Hz   M mels   T frames at 50 Hz   t a device's part of them
  W width   C channels between the convolutions, as many   H heads   K head size   N hidden width
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from stepjax.fields import Section, flag, whole
from stepjax.model.group import Group
from stepjax.model.layers import MOST, LayerNorm, Stack, bias, conv, part, sinusoids, weight, zeros
from stepjax.model.product import einsum

MASKED = -1e10
FRONT_SCALE = 2.0  # mels are small and GELU halves them: the positions must not drown them


@dataclasses.dataclass(frozen=True)
class EncoderConfig(Section, place="model.encoder"):
    """The sizes of an encoder. Its blocks and what leaves it have one width."""

    mels: int = whole(1, MOST)
    width: int = whole(4, MOST)
    heads: int = whole(1, MOST)
    hidden: int = whole(1, MOST)
    layers: int = whole(1, MOST)
    remat: bool = flag()

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(
                f"model.encoder.width={self.width} is not a multiple of model.encoder.heads="
                f"{self.heads}; each head takes an equal part of the width."
            )
        if self.width % 2:
            raise ValueError(
                f"model.encoder.width={self.width} is odd, and positions are pairs of a sine and a "
                "cosine; use an even one."
            )


class EncoderAttention(nnx.Module):
    """Full attention; the key projection has no bias."""

    def __init__(self, width: int, heads: int, depth_scale: float, *, rngs: nnx.Rngs):
        size = width // heads
        self.query_WHK = weight(rngs, width, heads, size, fan_in=width)
        self.query_bias_HK = zeros(heads, size)
        self.key_WHK = weight(rngs, width, heads, size, fan_in=width)
        self.value_WHK = weight(rngs, width, heads, size, fan_in=width)
        self.value_bias_HK = zeros(heads, size)
        self.out_HKW = weight(rngs, heads, size, width, fan_in=width, scale=depth_scale)
        self.out_bias_W = zeros(width)

    def __call__(self, x_BtW, mask_BT, group: Group):
        x_BTW = group.gather(x_BtW, dim=1)
        q_BTHK = einsum("BTW,WHK->BTHK", x_BTW, self.query_WHK[...])
        k_BTHK = einsum("BTW,WHK->BTHK", x_BTW, self.key_WHK[...])
        v_BTHK = einsum("BTW,WHK->BTHK", x_BTW, self.value_WHK[...])
        q_BTHK = q_BTHK + bias(self.query_bias_HK, q_BTHK)
        v_BTHK = v_BTHK + bias(self.value_bias_HK, v_BTHK)
        scale = q_BTHK.shape[-1] ** -0.25  # on q and on k, as Whisper does it
        score_BHTS = einsum("BTHK,BSHK->BHTS", q_BTHK * scale, k_BTHK * scale)
        score_BHTS = score_BHTS.astype(jnp.float32) + mask_BT[:, None, None]
        share_BHTS = jax.nn.softmax(score_BHTS, axis=-1).astype(x_BTW.dtype)
        y_BTHK = einsum("BHTS,BSHK->BTHK", share_BHTS, v_BTHK)
        y_BTW = einsum("BTHK,HKW->BTW", y_BTHK, self.out_HKW[...])
        y_BtW = group.scatter_sum(y_BTW, dim=1)
        return y_BtW + bias(self.out_bias_W, y_BtW)


class EncoderMLP(nnx.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int, depth_scale: float, *, rngs: nnx.Rngs):
        self.in_WN = weight(rngs, width, hidden, fan_in=width)
        self.in_bias_N = zeros(hidden)
        self.out_NW = weight(rngs, hidden, width, fan_in=hidden, scale=depth_scale)
        self.out_bias_W = zeros(width)

    def __call__(self, x_BtW, group: Group):
        x_BTW = group.gather(x_BtW, dim=1)
        h_BTN = einsum("BTW,WN->BTN", x_BTW, self.in_WN[...])
        h_BTN = jax.nn.gelu(h_BTN + bias(self.in_bias_N, h_BTN), approximate=False)
        y_BtW = group.scatter_sum(einsum("BTN,NW->BTW", h_BTN, self.out_NW[...]), dim=1)
        return y_BtW + bias(self.out_bias_W, y_BtW)


class EncoderBlock(nnx.Module):
    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        depth_scale = (2 * config.layers) ** -0.5
        self.attention_norm, self.mlp_norm = LayerNorm(config.width), LayerNorm(config.width)
        self.attention = EncoderAttention(config.width, config.heads, depth_scale, rngs=rngs)
        self.mlp = EncoderMLP(config.width, config.hidden, depth_scale, rngs=rngs)

    def __call__(self, x_BtW, mask_BT, group: Group):
        x_BtW = x_BtW + self.attention(self.attention_norm(x_BtW), mask_BT, group)
        return x_BtW + self.mlp(self.mlp_norm(x_BtW), group)


class Encoder(nnx.Module):
    """Log-mel frames at 100 Hz to features at 25 Hz."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        mels, width = config.mels, config.width
        self.conv1_3MC = weight(rngs, 3, mels, width, fan_in=3 * mels, scale=FRONT_SCALE)
        self.conv1_bias_C = zeros(width)
        self.conv2_3CW = weight(rngs, 3, width, width, fan_in=3 * width, scale=FRONT_SCALE)
        self.conv2_bias_W = zeros(width)
        self.stack = Stack(
            lambda r: EncoderBlock(config, rngs=r), config.layers, config.remat, rngs=rngs
        )
        self.after_norm = LayerNorm(width)

    def __call__(self, mel_BFM, frames_B, group: Group):
        """Encodes zero-padded rows.

        Args:
          mel_BFM: whole on every device, F a multiple of 4 * group.size.
          frames_B: valid frames of each row, which is two fewer than the row's sound has.
        Returns: [B, F / 4 / group.size, W], this device's part of the features.
        """
        h_BFC = conv(mel_BFM, self.conv1_3MC[...], stride=1)
        h_BFC = jax.nn.gelu(h_BFC + bias(self.conv1_bias_C, h_BFC), approximate=False)
        x_BtW = group.scatter_sum(conv(h_BFC, self.conv2_3CW[...], stride=2), dim=1)
        x_BtW = jax.nn.gelu(x_BtW + bias(self.conv2_bias_W, x_BtW), approximate=False)
        positions_TW = sinusoids(x_BtW.shape[1] * group.size, x_BtW.shape[2]).astype(x_BtW.dtype)
        x_BtW = x_BtW + part(positions_TW, group, dim=0)[None]
        x_BtW = self.stack(x_BtW, key_mask(frames_B, mel_BFM.shape[1]), group)
        return self.after_norm(x_BtW.reshape(x_BtW.shape[0], -1, 2, x_BtW.shape[2]).mean(axis=2))


def key_mask(frames_B, frames: int):
    """Added to scores [B, T]: 0 where a key frame at 50 Hz is audio, MASKED where it is padding.

    Step-Audio 2 takes every second entry of the frame mask, starting at 1 for an even number of
    frames.
    """
    valid_BF = jnp.arange(frames)[None] < frames_B[:, None]
    return jnp.where(valid_BF[:, (frames + 1) % 2 :: 2], 0.0, MASKED)
