"""What every corpus hands out: utterances by index, and the recordings that it leaves out."""

import abc
import dataclasses
import hashlib
import operator
from collections.abc import Iterable, Sequence

import numpy as np

SPLITS = ("train", "heldout")
CLIPS = 1000  # a codec needs no more recordings than this to be fitted


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
    where: str = ""  # the line that names it, such as "corpus.jsonl, line 3"

    def __post_init__(self):
        for field in ("name", "where"):  # they come from outside, and are to be shown in one line
            object.__setattr__(self, field, printable(getattr(self, field)))


class Source(abc.ABC):
    """A corpus by index: `source[i]` is a pure function of i, safe to call from any thread.

    It has no position and no epoch, so nothing of it needs saving: who knows i has the sample.
    """

    skipped: tuple[Skipped, ...] = ()
    mixed: int = 0  # recordings of which several channels were mixed

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, i: int) -> Utterance: ...

    @abc.abstractmethod
    def texts(self) -> list[str]:
        """What a tokenizer should be trained on."""

    @abc.abstractmethod
    def identity(self) -> dict[str, str]:
        """All outside the config that decides the samples: its name -> a hash, or a version.

        Two sources of equal configs and equal identities have equal samples, bit for bit.
        """

    def clips(self) -> list[Utterance]:
        """What a codec should be fitted on."""
        return [self[i] for i in spread(len(self), CLIPS)]


def printable(text: str) -> str:
    r"""A text in one line: line feeds, control and half characters as Python writes them.

    >>> print(printable("é a\n\ud83d"))
    é a\n\ud83d
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def combined(digests: Iterable[str]) -> str:
    """One hash of several, in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def spread(total: int, wanted: int) -> list[int]:
    """At most `wanted` of the integers below `total`, evenly apart.

    >>> spread(10, 4), spread(3, 4)
    ([0, 2, 5, 7], [0, 1, 2])
    """
    count = min(total, wanted)
    return [i * total // count for i in range(count)]


def position(i: int, length: int) -> int:
    """`i` as a Python integer, if it is below `length`."""
    i = operator.index(i)
    if not 0 <= i < length:
        raise IndexError(f"sample {i} of a source with {length} samples")
    return i


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split={split!r} does not exist: choose {' or '.join(SPLITS)}.")


def num_wanted(config, split: str) -> int:
    """How many samples a corpus that can make any number of them should have."""
    check_split(split)
    field = "utterances" if split == "train" else "heldout"
    if config[field] < 1:
        raise ValueError(
            f"{field}={config[field]} leaves the {split} split empty: it must be 1 or more."
        )
    return config[field]


def check_skipped(skipped: Sequence[Skipped], total: int, corpus: str, max_skipped: float) -> None:
    """Refuses a corpus of which too much, or everything, had to be left out."""
    if not skipped or (len(skipped) < total and len(skipped) <= max_skipped * total):
        return
    first = skipped[0]
    name = f"{first.name} of {first.where}" if first.where else first.name
    raise ValueError(
        f"{len(skipped)} of {total} recordings of {corpus} cannot be used and at most the share "
        f"max_skipped={max_skipped:g} may be left out; the first is {name} ({first.reason}). "
        "Repair or remove them, or raise max_skipped."
    )
