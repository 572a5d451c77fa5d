"""What every corpus hands out: utterances by index, and the names of the files that it had to leave out."""

import abc
import dataclasses

import numpy as np

SPLITS = ("train", "heldout")


@dataclasses.dataclass(frozen=True, eq=False)
class Utterance:
    """Something that someone said, and its words."""

    name: str
    audio: np.ndarray  # float32 [T], 16 kHz
    text: str
    speaker: str
    language: str


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A recording that cannot be used, and why."""

    name: str
    reason: str


class Source(abc.ABC):
    """A corpus by index: `source[i]` is a pure function of i, safe to call from any thread.

    It has no position and no epoch, so nothing of it needs saving: who knows i has the sample.
    """

    skipped: tuple[Skipped, ...] = ()

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, i: int) -> Utterance: ...

    @abc.abstractmethod
    def texts(self) -> list[str]:
        """What a tokenizer should be trained on."""

    @abc.abstractmethod
    def clips(self) -> list[Utterance]:
        """What a codec should be fitted on: at most about a thousand recordings."""
