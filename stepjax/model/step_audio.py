"""Step-Audio 2: audio encoder, adaptor and decoder as one model.

B batch   S samples   F mel frames   L tokens   l a device's part of them
A audio frames at 12.5 Hz   D width   V vocabulary (a device holds its part of it)
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from stepjax.audio import mel
from stepjax.fields import Section, one_of, section, whole
from stepjax.model.adaptor import Adaptor
from stepjax.model.decoder import Decoder, DecoderConfig
from stepjax.model.encoder import Encoder, EncoderConfig
from stepjax.model.group import Group
from stepjax.model.layers import MOST, Table, part, weight
from stepjax.model.product import einsum

FRAME_GROUP = 8  # mel frames behind one adaptor frame: every device takes a multiple of them


@dataclasses.dataclass(frozen=True)
class ModelConfig(Section, place="model"):
    """All that a config says of a model; the size of the vocabulary comes from the corpus."""

    dtype: str = one_of(("float32", "bfloat16"))  # of activations; parameters are float32
    adaptor_hidden: int = whole(1, MOST)
    encoder: EncoderConfig = section(EncoderConfig)
    decoder: DecoderConfig = section(DecoderConfig)

    def __post_init__(self):
        super().__post_init__()
        if self.encoder.mels != mel.NUM_MELS:
            raise ValueError(
                f"model.encoder.mels={self.encoder.mels}, but the front end makes {mel.NUM_MELS}; "
                "use that."
            )


class Inputs(NamedTuple):
    """What the model reads of a batch."""

    audio: jax.Array  # [B, S] float32: waveforms at 16 kHz, zero-padded
    samples: jax.Array  # [B]: how many of them are sound
    tokens: jax.Array  # [B, L]
    audio_at: jax.Array  # [B, L]: the audio feature that stands in for a token, or -1

    @classmethod
    def of(cls, batch: Mapping[str, jax.Array]) -> "Inputs":
        """The arrays of these names."""
        return cls(**{name: batch[name] for name in cls._fields})


class StepAudio(nnx.Module):
    """Waveforms and tokens to logits over a vocabulary of `vocab` tokens."""

    def __init__(self, config: ModelConfig, vocab: int, *, rngs: nnx.Rngs):
        heard, width = config.encoder.width, config.decoder.width
        self.dtype = jnp.dtype(config.dtype)
        self.encoder = Encoder(config.encoder, rngs=rngs)
        self.adaptor = Adaptor(heard, config.adaptor_hidden, width, rngs=rngs)
        self.table = Table(vocab, width, rngs=rngs)
        self.decoder = Decoder(config.decoder, rngs=rngs)
        self.head_DV = weight(rngs, width, vocab, fan_in=width)

    def listen(self, audio_BS, samples_B, group: Group):
        """Waveforms at 16 kHz, zero-padded, to audio features [B, A, D], whole on every device.

        Every device computes the mel frames of its own stretch of time.
        """
        share = FRAME_GROUP * group.size
        frames = -(-mel.num_frames(audio_BS.shape[1]) // share) * share
        own = mel.log_power(audio_BS, group.rank() * (frames // group.size), frames // group.size)
        frames_B = mel.num_frames(samples_B)
        mel_BFM = mel.normalise(group.gather(own, dim=1), frames_B).astype(self.dtype)
        return self.adaptor(self.encoder(mel_BFM, frames_B - 2, group), group)

    def read(self, tokens_BL, audio_at_BL, audio_BAD, group: Group):
        """Tokens, with audio features where `audio_at_BL` names one, to hidden [B, L, D]."""
        x_BlD = self.table(tokens_BL, self.dtype, group)
        at_Bl = part(audio_at_BL, group, dim=1)
        heard_BlD = jnp.take_along_axis(audio_BAD, jnp.maximum(at_Bl, 0)[..., None], axis=1)
        return self.decoder(jnp.where(at_Bl[..., None] >= 0, heard_BlD, x_BlD), group)

    def logits(self, hidden_BLD):
        """This device's part of the vocabulary: [B, L, V / group.size], float32."""
        return einsum("BLD,DV->BLV", hidden_BLD, self.head_DV[...]).astype(jnp.float32)

    def __call__(self, inputs: Inputs, group: Group):
        """This device's part of the logits at every token: [B, L, V / group.size]."""
        audio_BAD = self.listen(inputs.audio, inputs.samples, group)
        return self.logits(self.read(inputs.tokens, inputs.audio_at, audio_BAD, group))


def make(config: ModelConfig, vocab: int, seed: int) -> StepAudio:
    """The model with weights drawn from `seed`."""
    return StepAudio(config, vocab, rngs=nnx.Rngs(params=jax.random.key(seed)))
