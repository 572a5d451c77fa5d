"""The audio encoder of Step-Audio 2: two convolutions, pre-LN blocks, pooling to 25 frames per
second.

Whisper's encoder (Radford et al. 2022) with an average over pairs of frames at the end, as in
Qwen2-Audio.

  B batch   F mel frames at 100 Hz   M mels   T frames at 50 Hz   t a device's part of them
  W width   H heads   K head size   N hidden width
"""

import jax
import jax.numpy as jnp
from flax import nnx

from stepjax.model.group import Group
from stepjax.model.layers import LayerNorm, Stack, bias, part, sinusoids, weight, zeros

MASKED = -1e10
FRONT_SCALE = (
    2.0  # mels are small and GELU halves them: the positions that are added must not drown them
)


class EncoderAttention(nnx.Module):
    """Full attention; the key projection has no bias."""

    def __init__(self, width: int, heads: int, depth_scale: float, *, rngs: nnx.Rngs):
        size = width // heads
        self.query_WHK, self.query_bias_HK = (
            weight(rngs, width, heads, size, fan_in=width),
            zeros(heads, size),
        )
        self.key_WHK = weight(rngs, width, heads, size, fan_in=width)
        self.value_WHK, self.value_bias_HK = (
            weight(rngs, width, heads, size, fan_in=width),
            zeros(heads, size),
        )
        self.out_HKW = weight(rngs, heads, size, width, fan_in=width, scale=depth_scale)
        self.out_bias_W = zeros(width)

    def __call__(self, x_BtW, mask_BT, group: Group):
        x_BTW = group.gather(x_BtW, dim=1)
        dtype = x_BTW.dtype
        q_BTHK = jnp.einsum("BTW,WHK->BTHK", x_BTW, self.query_WHK[...].astype(dtype))
        k_BTHK = jnp.einsum("BTW,WHK->BTHK", x_BTW, self.key_WHK[...].astype(dtype))
        v_BTHK = jnp.einsum("BTW,WHK->BTHK", x_BTW, self.value_WHK[...].astype(dtype))
        q_BTHK, v_BTHK = (
            q_BTHK + bias(self.query_bias_HK, q_BTHK),
            v_BTHK + bias(self.value_bias_HK, v_BTHK),
        )
        scale = q_BTHK.shape[-1] ** -0.25  # on q and on k, as Whisper does it
        score_BHTS = jnp.einsum("BTHK,BSHK->BHTS", q_BTHK * scale, k_BTHK * scale).astype(
            jnp.float32
        )
        share_BHTS = jax.nn.softmax(score_BHTS + mask_BT[:, None, None], axis=-1).astype(dtype)
        y_BTHK = jnp.einsum("BHTS,BSHK->BTHK", share_BHTS, v_BTHK)
        y_BTW = jnp.einsum("BTHK,HKW->BTW", y_BTHK, self.out_HKW[...].astype(dtype))
        y_BtW = group.scatter_sum(y_BTW, dim=1)
        return y_BtW + bias(self.out_bias_W, y_BtW)


class EncoderMLP(nnx.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int, depth_scale: float, *, rngs: nnx.Rngs):
        self.in_WN, self.in_bias_N = weight(rngs, width, hidden, fan_in=width), zeros(hidden)
        self.out_NW, self.out_bias_W = (
            weight(rngs, hidden, width, fan_in=hidden, scale=depth_scale),
            zeros(width),
        )

    def __call__(self, x_BtW, group: Group):
        x_BTW = group.gather(x_BtW, dim=1)
        h_BTN = x_BTW @ self.in_WN[...].astype(x_BTW.dtype)
        h_BTN = jax.nn.gelu(h_BTN + bias(self.in_bias_N, h_BTN), approximate=False)
        y_BtW = group.scatter_sum(h_BTN @ self.out_NW[...].astype(x_BTW.dtype), dim=1)
        return y_BtW + bias(self.out_bias_W, y_BtW)


class EncoderBlock(nnx.Module):
    def __init__(self, config, *, rngs: nnx.Rngs):
        depth_scale = (2 * config.layers) ** -0.5
        self.attention_norm, self.mlp_norm = LayerNorm(config.width), LayerNorm(config.width)
        self.attention = EncoderAttention(config.width, config.heads, depth_scale, rngs=rngs)
        self.mlp = EncoderMLP(config.width, config.hidden, depth_scale, rngs=rngs)

    def __call__(self, x_BtW, mask_BT, group: Group):
        x_BtW = x_BtW + self.attention(self.attention_norm(x_BtW), mask_BT, group)
        return x_BtW + self.mlp(self.mlp_norm(x_BtW), group)


def conv(x_BTC, kernel, stride: int):
    """Convolution over time, kernel [3, in, out], one frame of zeros on either side.

    Written as one product of three neighbouring frames: XLA's convolution on CPUs is ten times
    slower inside a loop, and the product splits over devices like any other.
    """
    padded = jnp.pad(x_BTC, [(0, 0), (1, 1), (0, 0)])
    length = (x_BTC.shape[1] - 1) // stride + 1
    taps = [padded[:, tap : tap + (length - 1) * stride + 1 : stride] for tap in range(3)]
    return jnp.concatenate(taps, axis=-1) @ kernel.astype(x_BTC.dtype).reshape(-1, kernel.shape[-1])


class Encoder(nnx.Module):
    """Log-mel frames at 100 Hz to features at 25 Hz.

    Config: mels, width, heads, hidden, layers, remat.
    """

    def __init__(self, config, *, rngs: nnx.Rngs):
        width = config.width
        self.conv1_3MW = weight(
            rngs, 3, config.mels, width, fan_in=3 * config.mels, scale=FRONT_SCALE
        )
        self.conv2_3WW = weight(rngs, 3, width, width, fan_in=3 * width, scale=FRONT_SCALE)
        self.conv1_bias_W, self.conv2_bias_W = zeros(width), zeros(width)
        self.stack = Stack(
            lambda r: EncoderBlock(config, rngs=r), config.layers, config.remat, rngs=rngs
        )
        self.after_norm = LayerNorm(width)

    def __call__(self, mel_BFM, frames_B, group: Group):
        """Encodes zero-padded rows of `frames_B` valid frames (the sheet's T - 2) each.

        Args:    mel_BFM: whole on every device, F a multiple of 4 * group.size.
        Returns: [B, F / 4 / group.size, W], this device's part of the features.
        """
        h_BFW = conv(mel_BFM, self.conv1_3MW[...], stride=1)
        h_BFW = jax.nn.gelu(
            h_BFW + bias(self.conv1_bias_W, h_BFW), approximate=False
        )  # part of the channels
        x_BtW = group.scatter_sum(conv(h_BFW, self.conv2_3WW[...], stride=2), dim=1)
        x_BtW = jax.nn.gelu(x_BtW + bias(self.conv2_bias_W, x_BtW), approximate=False)
        positions_TW = sinusoids(x_BtW.shape[1] * group.size, x_BtW.shape[2]).astype(x_BtW.dtype)
        x_BtW = x_BtW + part(positions_TW, group, dim=0)[None]
        x_BtW = self.stack(x_BtW, key_mask(frames_B, mel_BFM.shape[1]), group)
        return self.after_norm(x_BtW.reshape(x_BtW.shape[0], -1, 2, x_BtW.shape[2]).mean(axis=2))


def key_mask(frames_B, frames: int):
    """Added to scores: 0 where a key frame at 50 Hz is audio, a large negative number where it is
    padding.

    Step-Audio 2 takes every second entry of the frame mask, starting at 1 for an even number of
    frames.
    """
    valid_BF = jnp.arange(frames)[None] < frames_B[:, None]
    return jnp.where(valid_BF[:, (frames + 1) % 2 :: 2], 0.0, MASKED)
