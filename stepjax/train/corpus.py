"""All that a run knows about its data: the corpus, its tokenizer and codec, and the batches made of
them.
"""

import dataclasses
from collections.abc import Sequence

import grain
import numpy as np

from stepjax.codec import kmeans
from stepjax.data import pipeline, sources
from stepjax.data.examples import max_tokens
from stepjax.data.pipeline import Batch, Draw
from stepjax.recipe import Recipe
from stepjax.text import chat, tokenizer
from stepjax.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Splits:
    """Both parts of a corpus: to train on, and to measure the model by."""

    train: sources.Source
    heldout: sources.Source


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Training batches by number, and the utterances to measure the model by."""

    recipe: Recipe
    draws: grain.MapDataset[Draw]
    batches: grain.MapDataset[Batch]
    heldout: sources.Source
    skipped: tuple[sources.Skipped, ...]
    mixed: int  # recordings of which several channels were mixed
    batch_size: int

    def hash_of(self, step: int) -> str:
        """The `sample_ids_hash` that the batch of a step must have."""
        first = step * self.batch_size
        return pipeline.hash_of(self.draws[n] for n in range(first, first + self.batch_size))


def open_splits(config) -> Splits:
    """The corpus that the config's part `data` names. Raises ValueError where it is not there."""
    return Splits(*(sources.open_source(config, split) for split in ("train", "heldout")))


def fit(splits: Splits, config, seed: int, multiple: int) -> Recipe:
    """Fits tokenizer and codec on the training part.

    Args:
      config: the config's part `data`.
      multiple: of which the row length and the vocabulary's size must be one, to split over a ring.
    """
    texts = splits.train.texts()
    words = tokenizer.train(texts, config.text_size, chat.TEMPLATES)
    codec = kmeans.fit([clip.audio for clip in splits.train.clips()], config.audio_codes, seed)
    vocabulary = Vocabulary(
        config.text_size, config.audio_codes, int(np.lcm(config.vocabulary_multiple, multiple))
    )
    every_text = [*texts, *splits.heldout.texts()]
    length = max_tokens(config.max_seconds, config.tasks, words, vocabulary, every_text, multiple)
    return Recipe(words, vocabulary, codec, config.max_seconds, length, longest(words, texts))


def make(splits: Splits, recipe: Recipe, config, seed: int) -> Corpus:
    """The batches of a run: a pure function of corpus, recipe, config (part `data`) and seed."""
    train, heldout = splits.train, splits.heldout
    batches = pipeline.training_batches(train, recipe, config.tasks, seed, config.global_batch)
    draws = pipeline.training_draws(len(train), config.tasks, seed)
    skipped = (*train.skipped, *heldout.skipped)
    mixed = train.mixed + heldout.mixed
    return Corpus(recipe, draws, batches, heldout, skipped, mixed, config.global_batch)


def longest(words: tokenizer.Tokenizer, texts: Sequence[str]) -> int:
    return max(map(len, words.encode_all(texts)))
