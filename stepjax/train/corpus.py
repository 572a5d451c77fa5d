"""All that a run knows about its data: the corpus, its tokenizer and codec, and the batches made of
them.
"""

import dataclasses
from collections.abc import Sequence

import grain
import numpy as np

from stepjax.codec import kmeans
from stepjax.data import pipeline, sources
from stepjax.data.examples import Recipe, max_tokens
from stepjax.data.pipeline import Batch, Draw
from stepjax.text import chat, tokenizer
from stepjax.text.vocabulary import Vocabulary

TRAINED_ON = (
    "audio",
    "samples",
    "tokens",
    "audio_at",
    "targets",
    "kind",
)  # what the device programs read


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Training batches by number, and the utterances to measure the model by."""

    recipe: Recipe
    draws: grain.MapDataset[Draw]
    batches: grain.MapDataset[Batch]
    heldout: sources.Source
    skipped: tuple[sources.Skipped, ...]
    max_text: int  # tokens of the longest training text
    batch_size: int

    def hash_of(self, step: int) -> str:
        """The `sample_ids_hash` that the batch of a step must have."""
        first = step * self.batch_size
        return pipeline.hash_of(self.draws[n] for n in range(first, first + self.batch_size))


def make(config, seed: int, multiple: int) -> Corpus:
    """Opens the corpus and fits tokenizer and codec on its training part; the same config gives the
    same.

    Args:
      config: the config's part `data`.
      multiple: of which the row length and the vocabulary's size must be one, to split over a ring.
    """
    train, heldout = sources.open_source(config, "train"), sources.open_source(config, "heldout")
    texts = train.texts()
    words = tokenizer.train(texts, config.text_size, chat.TEMPLATES)
    codec = kmeans.fit([clip.audio for clip in train.clips()], config.audio_codes, seed)
    vocabulary = Vocabulary(
        config.text_size, config.audio_codes, int(np.lcm(config.vocabulary_multiple, multiple))
    )
    every_text = [*texts, *heldout.texts()]
    length = max_tokens(config.max_seconds, config.tasks, words, vocabulary, every_text, multiple)
    recipe = Recipe(words, vocabulary, codec, config.max_seconds, length)
    batches = pipeline.training_batches(train, recipe, config.tasks, seed, config.global_batch)
    draws = pipeline.training_draws(len(train), config.tasks, seed)
    skipped = (*train.skipped, *heldout.skipped)
    return Corpus(
        recipe, draws, batches, heldout, skipped, longest(words, texts), config.global_batch
    )


def longest(words: tokenizer.Tokenizer, texts: Sequence[str]) -> int:
    return max(map(len, words.encode_all(texts)))
