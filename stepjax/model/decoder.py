"""The decoder of Step-Audio 2: Qwen2 (RMSNorm, rotary positions, shared key/value heads, SwiGLU).

B batch   L sequence   l a device's part of it   D width   H heads   G key/value heads   Q = H / G
K head size   N hidden width
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from stepjax.fields import Section, flag, real, whole
from stepjax.model.group import Group
from stepjax.model.layers import MOST, RMSNorm, Stack, bias, rotate, weight, zeros
from stepjax.model.product import einsum


@dataclasses.dataclass(frozen=True)
class DecoderConfig(Section, place="model.decoder"):
    """The sizes of a decoder. Its heads need not add up to its width."""

    width: int = whole(1, MOST)
    heads: int = whole(1, MOST)
    kv_heads: int = whole(1, MOST)
    head_size: int = whole(2, MOST)
    hidden: int = whole(1, MOST)
    layers: int = whole(1, MOST)
    norm_eps: float = real(1e-12, 1.0)
    rope_theta: float = real(1.0, 1e12)
    remat: bool = flag()

    def __post_init__(self):
        super().__post_init__()
        if self.heads % self.kv_heads:
            raise ValueError(
                f"model.decoder.heads={self.heads} is not a multiple of model.decoder.kv_heads="
                f"{self.kv_heads}; each key/value head serves an equal number of heads."
            )
        if self.head_size % 2:
            raise ValueError(
                f"model.decoder.head_size={self.head_size} is odd, and rotary positions turn pairs "
                "of numbers; use an even one."
            )


class DecoderAttention(nnx.Module):
    """Causal attention with shared key/value heads (Ainslie et al. 2023); q, k, v are biased."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        D, H, G, K = config.width, config.heads, config.kv_heads, config.head_size
        self.q_DHK, self.q_bias_HK = weight(rngs, D, H, K, fan_in=D), zeros(H, K)
        self.k_DGK, self.k_bias_GK = weight(rngs, D, G, K, fan_in=D), zeros(G, K)
        self.v_DGK, self.v_bias_GK = weight(rngs, D, G, K, fan_in=D), zeros(G, K)
        self.out_HKD = weight(rngs, H, K, D, fan_in=H * K, scale=(2 * config.layers) ** -0.5)
        self.theta = config.rope_theta

    def __call__(self, x_BlD, group: Group):
        x_BLD = group.gather(x_BlD, dim=1)
        B, L, _ = x_BLD.shape
        q_BLHK = einsum("BLD,DHK->BLHK", x_BLD, self.q_DHK[...])
        k_BLGK = einsum("BLD,DGK->BLGK", x_BLD, self.k_DGK[...])
        v_BLGK = einsum("BLD,DGK->BLGK", x_BLD, self.v_DGK[...])
        q_BLHK = rotate(q_BLHK + bias(self.q_bias_HK, q_BLHK), self.theta)
        k_BLGK = rotate(k_BLGK + bias(self.k_bias_GK, k_BLGK), self.theta)
        v_BLGK = v_BLGK + bias(self.v_bias_GK, v_BLGK)
        q_BLGQK = q_BLHK.reshape(B, L, k_BLGK.shape[2], -1, q_BLHK.shape[-1])
        score_BGQLM = einsum("BLGQK,BMGK->BGQLM", q_BLGQK, k_BLGK).astype(jnp.float32)
        score_BGQLM = score_BGQLM * q_BLHK.shape[-1] ** -0.5
        past_111LM = jnp.tril(jnp.ones((L, L), bool))[None, None, None]
        score_BGQLM = jnp.where(past_111LM, score_BGQLM, -jnp.inf)
        share_BGQLM = jax.nn.softmax(score_BGQLM, axis=-1).astype(x_BLD.dtype)
        y_BLHK = einsum("BGQLM,BMGK->BLGQK", share_BGQLM, v_BLGK).reshape(q_BLHK.shape)
        y_BLD = einsum("BLHK,HKD->BLD", y_BLHK, self.out_HKD[...])
        return group.scatter_sum(y_BLD, dim=1)


class SwiGLU(nnx.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020), without biases."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        D, N = config.width, config.hidden
        self.gate_DN = weight(rngs, D, N, fan_in=D)
        self.up_DN = weight(rngs, D, N, fan_in=D)
        self.down_ND = weight(rngs, N, D, fan_in=N, scale=(2 * config.layers) ** -0.5)

    def __call__(self, x_BlD, group: Group):
        x_BLD = group.gather(x_BlD, dim=1)
        gate_BLN = jax.nn.silu(einsum("BLD,DN->BLN", x_BLD, self.gate_DN[...]))
        h_BLN = gate_BLN * einsum("BLD,DN->BLN", x_BLD, self.up_DN[...])
        return group.scatter_sum(einsum("BLN,ND->BLD", h_BLN, self.down_ND[...]), dim=1)


class DecoderBlock(nnx.Module):
    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.mlp_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = DecoderAttention(config, rngs=rngs)
        self.mlp = SwiGLU(config, rngs=rngs)

    def __call__(self, x_BlD, group: Group):
        x_BlD = x_BlD + self.attention(self.attention_norm(x_BlD), group)
        return x_BlD + self.mlp(self.mlp_norm(x_BlD), group)


class Decoder(nnx.Module):
    """Embedded tokens to hidden states."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        self.stack = Stack(
            lambda r: DecoderBlock(config, rngs=r), config.layers, config.remat, rngs=rngs
        )
        self.norm = RMSNorm(config.width, config.norm_eps)

    def __call__(self, x_BlD, group: Group):
        """[B, l, D] -> [B, L, D], whole on every device."""
        return group.gather(self.norm(self.stack(x_BlD, group)), dim=1)
