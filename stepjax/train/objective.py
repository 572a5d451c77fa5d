"""Next-token cross-entropy with the vocabulary split over a tensor-parallel group.

B batch   L tokens   l a device's part of them   v a device's part of the vocabulary
"""

import dataclasses

import jax
import jax.numpy as jnp

from stepjax.fields import Section, real
from stepjax.model.group import Group
from stepjax.model.layers import part

KINDS = ("text", "audio")  # kind 0 of a target is "no loss", kind k is KINDS[k - 1]
LEAST_WEIGHT = 1e-3  # of the kind that counts most


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Section, place="objective"):
    """The weight of a token of each kind in the loss."""

    text: float = real(0.0, 1000.0)
    audio: float = real(0.0, 1000.0)

    def __post_init__(self):
        super().__post_init__()
        if max(self.text, self.audio) < LEAST_WEIGHT:
            raise ValueError(
                f"objective.text={self.text:g} and objective.audio={self.audio:g} leave no token a "
                f"loss; give one of them at least {LEAST_WEIGHT:g}."
            )


def cross_entropy(logits_BLv, targets_BL, group: Group):
    """-log p(target) at this device's part of the positions: [B, l], float32.

    The sum over the vocabulary takes one reduce-scatter of two numbers a position.
    """
    rows = logits_BLv.shape[-1]
    top = jax.lax.stop_gradient(logits_BLv.max(axis=-1))
    top_BL = group.gather(top[None], dim=0).max(axis=0)
    exp_BL = jnp.exp(logits_BLv - top_BL[..., None]).sum(axis=-1)
    local_BL = targets_BL - group.rank() * rows
    mine_BL = (local_BL >= 0) & (local_BL < rows)
    clipped_BL1 = jnp.clip(local_BL, 0, rows - 1)[..., None]
    picked_BL = jnp.take_along_axis(logits_BLv, clipped_BL1, axis=-1)[..., 0]
    target_BL = jnp.where(mine_BL, picked_BL - top_BL, 0)
    exp_Bl, target_Bl = group.scatter_sum(jnp.stack([exp_BL, target_BL]), dim=2)
    return jnp.log(exp_Bl) - target_Bl


def sums_by_kind(nll_Bl, kind_BL, group: Group):
    """Sums of the losses of each kind over this device's positions: [B, len(KINDS)]."""
    kind_Bl = part(kind_BL, group, dim=1)
    sums = [jnp.where(kind_Bl == k + 1, nll_Bl, 0).sum(axis=1) for k in range(len(KINDS))]
    return jnp.stack(sums, axis=1)
