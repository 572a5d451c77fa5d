"""What turns recordings and text into what a model reads and writes: the same during a whole run.

It is fitted to a corpus once, by `stepjax.train.corpus`, and saved with the run. Whoever goes on
training, or uses the model, loads it; so nobody needs the corpus for that, or fits another one.
"""

import dataclasses
import json
from pathlib import Path

from stepjax.audio import mel
from stepjax.codec import kmeans
from stepjax.codec.codec import SpeechCodec
from stepjax.disk.files import read_json
from stepjax.disk.sealed import Damaged, sealed, verify
from stepjax.text import tokenizer
from stepjax.text.tokenizer import Tokenizer
from stepjax.text.vocabulary import Vocabulary

BLOCK_SECONDS = 25  # Step-Audio 2 hears longer speech as several blocks, each between its own marks
NUMBERS, TOKENIZER, CODEC = "recipe.json", "tokenizer.json", "codec.npz"
MEL = {
    "sample_rate": mel.SAMPLE_RATE, "hop": mel.HOP, "window": mel.WINDOW, "num_mels": mel.NUM_MELS,
    "tail": mel.TAIL, "floor": mel.FLOOR, "range": mel.RANGE,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Raises: ValueError for parts that do not fit together."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary
    codec: SpeechCodec
    max_seconds: float  # of an utterance
    max_tokens: int  # of an example; see stepjax.data.examples.max_tokens
    max_text: int  # tokens of the longest training text

    def __post_init__(self):
        v = self.vocabulary
        if (v.text_size, v.audio_codes) != (self.tokenizer.text_size, self.codec.num_codes):
            raise ValueError(
                f"a vocabulary of {v.text_size} text ids and {v.audio_codes} audio codes was given "
                f"with a tokenizer of {self.tokenizer.text_size} and a codec of "
                f"{self.codec.num_codes}; make them equal."
            )
        if not 0 < self.max_seconds <= BLOCK_SECONDS:
            raise ValueError(
                f"max_seconds={self.max_seconds:g} was given; an utterance is one block of speech "
                f"of at most {BLOCK_SECONDS} s: cut longer recordings."
            )

    @property
    def max_samples(self) -> int:
        return int(self.max_seconds * mel.SAMPLE_RATE)

    def save(self, folder: Path) -> None:
        """Makes `folder` hold this recipe, whole or not at all.

        Raises: Unwritable.
        """
        numbers = {
            "vocabulary": dataclasses.asdict(self.vocabulary),
            "max_seconds": self.max_seconds,
            "max_tokens": self.max_tokens,
            "max_text": self.max_text,
            "mel": MEL,
        }
        with sealed(folder) as inside:
            (inside / NUMBERS).write_text(json.dumps(numbers, indent=1) + "\n")
            self.tokenizer.save(inside / TOKENIZER)
            self.codec.save(inside / CODEC)

    @classmethod
    def load(cls, folder: Path) -> "Recipe":
        """What `save` wrote.

        Raises: ValueError, in one sentence, if it is missing, damaged, or of another front end.
        """
        try:
            verify(folder)
        except Damaged as error:
            raise ValueError(
                f"{error}, and without its recipe the run cannot be used: put back a copy of "
                f"{folder}."
            ) from error
        numbers = read_json(folder / NUMBERS)
        for name, ours in MEL.items():
            if numbers["mel"].get(name) != ours:
                raise ValueError(
                    f"{folder} was made for spectra with {name}={numbers['mel'].get(name)}, and "
                    f"this version makes them with {name}={ours}; use the version that trained the "
                    "run."
                )
        vocabulary = Vocabulary(**numbers["vocabulary"])
        words = tokenizer.load(folder / TOKENIZER, vocabulary.text_size)
        limits = (numbers[name] for name in ("max_seconds", "max_tokens", "max_text"))
        return cls(words, vocabulary, kmeans.load(folder / CODEC), *limits)
