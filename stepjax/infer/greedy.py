"""Greedy answers: the likeliest token, again and again.

B batch   L tokens   D width   v a device's part of the vocabulary
"""

import jax
import jax.numpy as jnp

from stepjax.model.group import Group
from stepjax.model.step_audio import StepAudio


def argmax(logits_Bv, group: Group):
    """The index of the largest logit over the whole vocabulary [B]; the lowest of equals."""
    top_RB = group.gather(logits_Bv.max(axis=-1)[None], dim=0)
    index_RB = group.gather(
        (logits_Bv.argmax(axis=-1) + group.rank() * logits_Bv.shape[-1])[None], dim=0
    )
    return jnp.take_along_axis(index_RB, top_RB.argmax(axis=0)[None], axis=0)[0]


def greedy(model: StepAudio, batch, stop: int, max_new: int, group: Group):
    """Continues every prompt by `max_new` tokens; after `stop`, or in a full row, comes only
    `stop`.

    Each token takes one pass over the whole row, which is meant for short answers to many rows.

    Args:    batch: the model's inputs as in training, and prompt_tokens [B], at least 1.
    Returns: [B, max_new] token ids.
    """
    tokens_BL, lengths_B = batch["tokens"], batch["prompt_tokens"]
    audio_BAD = model.listen(batch["audio"], batch["samples"], group)
    rows = jnp.arange(tokens_BL.shape[0])

    def step(i, carry):
        tokens_BL, answer_BN, done_B = carry
        hidden_BLD = model.read(tokens_BL, batch["audio_at"], audio_BAD, group)
        last_B = lengths_B + i - 1  # the place that is asked for the token after it
        last_B1D = jnp.take_along_axis(hidden_BLD, last_B[:, None, None], axis=1, mode="clip")
        done_B |= last_B >= tokens_BL.shape[1]
        token_B = jnp.where(done_B, stop, argmax(model.logits(last_B1D)[:, 0], group))
        tokens_BL = tokens_BL.at[rows, last_B + 1].set(token_B, mode="drop")
        return tokens_BL, answer_BN.at[:, i].set(token_B), done_B | (token_B == stop)

    start = tokens_BL, jnp.full((len(rows), max_new), stop, jnp.int32), jnp.zeros(len(rows), bool)
    return jax.lax.fori_loop(0, max_new, step, start)[1]
