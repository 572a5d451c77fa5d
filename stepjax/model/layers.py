"""The small parts of all blocks: weights, norms, rotary positions, stacks, the vocabulary table.

B batch   L sequence   l a device's part of it   D width   H heads   K head size   V vocabulary
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from stepjax.model.group import Group
from stepjax.model.product import einsum

MOST = 1 << 20  # no model has a width, or a number of heads or layers, beyond this


def weight(rngs: nnx.Rngs, *shape: int, fan_in: int, scale: float = 1.0) -> nnx.Param:
    """A float32 weight with deviation scale / sqrt(fan_in); its product sums fan_in terms."""
    drawn = jax.random.truncated_normal(rngs.params(), -3.0, 3.0, shape)
    return nnx.Param(scale / math.sqrt(fan_in) * drawn)


def zeros(*shape: int) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape))


class RMSNorm(nnx.Module):
    """x / rms(x) * scale, in float32 (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, eps: float):
        self.scale_D = nnx.Param(jnp.ones(width))
        self.eps = eps

    def __call__(self, x_BLD):
        x = x_BLD.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return (x * bias(self.scale_D, x)).astype(x_BLD.dtype)


class LayerNorm(nnx.Module):
    """(x - mean) / deviation * scale + shift, in float32 (Ba et al. 2016), with eps 1e-5."""

    def __init__(self, width: int):
        self.scale_D, self.shift_D = nnx.Param(jnp.ones(width)), zeros(width)

    def __call__(self, x_BLD):
        x = x_BLD.astype(jnp.float32)
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-5)
        return (x * bias(self.scale_D, x) + bias(self.shift_D, x)).astype(x_BLD.dtype)


def bias(param: nnx.Param, x):
    """A parameter of x's last dimensions, in x's dtype and rank, to add to x or multiply it by."""
    value = param[...].astype(x.dtype)
    return value.reshape((1,) * (x.ndim - value.ndim) + value.shape)


def conv(x_BTI, kernel_3IO, stride: int):
    """Convolution over time with kernels of 3 frames and one frame of zeros on either side.

    Written as one product of three neighbouring frames: XLA's convolution on CPUs is ten times
    slower inside a loop, and the product splits over devices like any other.

    Returns: [B, ceil(T / stride), O].
    """
    padded = jnp.pad(x_BTI, [(0, 0), (1, 1), (0, 0)])
    last = (x_BTI.shape[1] - 1) // stride * stride  # where the last output begins
    taps = [padded[:, tap : tap + last + 1 : stride] for tap in range(3)]
    kernel_PO = kernel_3IO.reshape(-1, kernel_3IO.shape[-1])
    return einsum("BTP,PO->BTO", jnp.concatenate(taps, axis=-1), kernel_PO)


def rotate(x_BLHK, theta: float):
    """Rotary positions 0..L-1 in the rotate-half form (Su et al. 2021; Qwen2)."""
    length, size = x_BLHK.shape[1], x_BLHK.shape[-1]
    frequency = theta ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    angle = jnp.arange(length, dtype=jnp.float32)[:, None] * frequency[None]
    angle_1L1K = jnp.concatenate([angle, angle], axis=-1)[None, :, None]
    half = jnp.concatenate([-x_BLHK[..., size // 2 :], x_BLHK[..., : size // 2]], axis=-1)
    turned = x_BLHK.astype(jnp.float32) * jnp.cos(angle_1L1K)
    turned += half.astype(jnp.float32) * jnp.sin(angle_1L1K)
    return turned.astype(x_BLHK.dtype)


def sinusoids(length: int, width: int):
    """Whisper's positions: [sin(t w_i), cos(t w_i)], w_i = exp(-i ln(10000) / (width / 2 - 1))."""
    frequency = jnp.exp(-jnp.arange(width // 2) * math.log(10_000) / (width // 2 - 1))
    angle = jnp.arange(length)[:, None] * frequency[None]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class Stack(nnx.Module):
    """Blocks of one shape, one after another: a scan over parameters stacked along a leading axis.

    Compile time does not grow with depth. With `remat`, a block's inner values are computed again
    in the backward pass instead of being kept.
    """

    def __init__(
        self,
        make: Callable[[nnx.Rngs], nnx.Module],
        num_blocks: int,
        remat: bool,
        *,
        rngs: nnx.Rngs,
    ):
        self.blocks = nnx.vmap(make)(rngs.split(num_blocks))
        self.remat = remat

    def __call__(self, x_BlD, *args):
        graph, params = nnx.split(self.blocks)

        def step(x, block_params):
            return nnx.merge(graph, block_params)(x, *args), None

        return jax.lax.scan(jax.checkpoint(step) if self.remat else step, x_BlD, params)[0]


class Table(nnx.Module):
    """Token embeddings, the vocabulary split over the group."""

    def __init__(self, vocab: int, width: int, *, rngs: nnx.Rngs):
        self.table_VD = weight(rngs, vocab, width, fan_in=width)

    def __call__(self, tokens_BL, dtype, group: Group):
        """[B, L] -> [B, l, D]: each device looks up its own rows; others add zeros."""
        rows = self.table_VD.shape[0]
        local_BL = tokens_BL - group.rank() * rows
        mine_BL = (local_BL >= 0) & (local_BL < rows)
        x_BLD = jnp.take(self.table_VD[...], jnp.clip(local_BL, 0, rows - 1), axis=0).astype(dtype)
        return group.scatter_sum(jnp.where(mine_BL[..., None], x_BLD, 0), dim=1)


def part(x, group: Group, dim: int):
    """This device's part of what every device holds whole."""
    rows = x.shape[dim] // group.size
    return jax.lax.dynamic_slice_in_dim(x, group.rank() * rows, rows, dim)
