"""Strings of spoken digits, joined from recordings of single ones: {digit}_{speaker}_{index}.wav.

The naming is that of the Free Spoken Digit Dataset (Jackson et al. 2018). The low indices are held
out.
"""

import dataclasses
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stepjax.audio import reading
from stepjax.audio.mel import SAMPLE_RATE
from stepjax.data import cache, paths
from stepjax.data.augment import Augmentation
from stepjax.data.draws import generator
from stepjax.data.utterances import (
    CLIPS,
    Skipped,
    Source,
    Utterance,
    check_skipped,
    combined,
    num_wanted,
    position,
    spread,
)

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>.+)_(?P<index>\d+)\.\w+")
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


@dataclasses.dataclass(frozen=True)
class Joining:
    """How strings are made of recordings."""

    seed: int
    split: str
    num_strings: int
    max_digits: int
    gap_seconds: tuple[float, float]  # (least, most) between two digits
    max_seconds: float
    augmentation: Augmentation = Augmentation()

    def __post_init__(self):
        least, most = self.gap_seconds
        if not 0 <= least <= most:
            raise ValueError(
                f"gap_seconds={self.gap_seconds} is not (least, most), such as (0.02, 0.2)."
            )
        if self.max_digits < 1:
            raise ValueError(
                f"max_digits={self.max_digits} leaves no digit to say: it must be 1 or more."
            )

    @property
    def max_samples(self) -> int:
        """What may be joined, so that it is not too long after it was slowed down."""
        return int(self.max_seconds * (1 - self.augmentation.speed) * SAMPLE_RATE)


class DigitStrings(Source):
    """Strings of digits, each of one speaker and made when it is asked for."""

    def __init__(
        self,
        recordings: Sequence[Utterance],
        joining: Joining,
        skipped: Sequence[Skipped],
        identity: Mapping[str, str],
        mixed: int,
    ):
        self._recordings, self._joining, self.skipped = tuple(recordings), joining, tuple(skipped)
        self._identity, self.mixed = dict(identity), mixed
        by_speaker = defaultdict(lambda: defaultdict(list))
        for recording in recordings:
            by_speaker[recording.speaker][recording.text].append(recording)
        self._by_speaker = [list(by_digit.values()) for by_digit in by_speaker.values()]

    def __len__(self) -> int:
        return self._joining.num_strings

    def __getitem__(self, i: int) -> Utterance:
        joining, i = self._joining, position(i, len(self))
        recordings, gaps, draw = self._parts(i)
        pieces = [recordings[0].audio]
        for gap, recording in zip(gaps, recordings[1:], strict=True):
            pieces += [np.zeros(gap, np.float32), recording.audio]
        audio_T = joining.augmentation(np.concatenate(pieces), draw)
        speaker = recordings[0].speaker
        return Utterance(
            f"{joining.split}-{i:06d}-{speaker}", audio_T, _text(recordings), speaker, "en"
        )

    def texts(self) -> list[str]:
        return [_text(self._parts(i)[0]) for i in spread(len(self), CLIPS)]

    def identity(self) -> dict[str, str]:
        return dict(self._identity)

    def clips(self) -> list[Utterance]:
        """Single digits."""
        return [self._recordings[i] for i in spread(len(self._recordings), CLIPS)]

    def _parts(self, i: int) -> tuple[list[Utterance], list[int], np.random.Generator]:
        """The recordings of string i, the samples of silence between them, and its generator.

        A string ends early where the next digit would make it too long.
        """
        joining = self._joining
        draw = generator(joining.seed, "digits", joining.split, i)
        by_digit = self._by_speaker[draw.integers(len(self._by_speaker))]
        recordings, gaps, num_samples = [], [], 0
        for _ in range(draw.integers(1, joining.max_digits, endpoint=True)):
            takes = by_digit[draw.integers(len(by_digit))]
            recording = takes[draw.integers(len(takes))]
            gap = round(draw.uniform(*joining.gap_seconds) * SAMPLE_RATE) if recordings else 0
            num_samples += gap + len(recording.audio)
            if recordings and num_samples > joining.max_samples:
                break
            recordings.append(recording)
            gaps.append(gap)
        return recordings, gaps[1:], draw


def digits(config, split: str) -> DigitStrings:
    """`config.utterances` strings to train on, or `config.heldout` of other recordings.

    Only those to train on are augmented. Reads: fsdd, heldout_below, seed, utterances, heldout,
    max_digits, gap_seconds, augment, max_seconds, max_skipped.
    """
    num_strings = num_wanted(config, split)
    augmentation = Augmentation(**config.augment) if split == "train" else Augmentation()
    gap = tuple(config.gap_seconds)
    joining = Joining(
        config.seed, split, num_strings, config.max_digits, gap, config.max_seconds, augmentation
    )
    files = [f for f in _files(config.fsdd) if _split(f, config.heldout_below) in (split, None)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # libsndfile and soxr work outside the GIL
        found = list(pool.map(lambda file: _read(file, joining.max_samples / SAMPLE_RATE), files))
    skipped = [each for each in found if isinstance(each, Skipped)]
    usable = [each for each in found if not isinstance(each, Skipped)]
    check_skipped(skipped, len(found), config.fsdd, config.max_skipped)
    if not found:
        raise ValueError(
            f"No recording of fsdd={config.fsdd!r} falls into the {split} split: "
            f"heldout_below={config.heldout_below} parts the indices."
        )
    recordings = [take.utterance for take in usable]
    mixed = sum(take.recording.mixed for take in usable)
    return DigitStrings(recordings, joining, skipped, _identity(usable, augmentation), mixed)


class Take(NamedTuple):
    """A recording that can be used, as it lies on disk and as it was read."""

    file: str
    digest: str
    recording: reading.Recording
    utterance: Utterance


def _identity(takes: Sequence[Take], augmentation: Augmentation) -> dict[str, str]:
    libraries = {name for take in takes for name in take.recording.libraries}
    libraries |= {"libsoxr"} if augmentation.speed else set()
    versions = {name: reading.LIBRARIES[name] for name in sorted(libraries)}
    return {"recordings": combined(f"{take.file} {take.digest}" for take in takes), **versions}


def _files(folder: str) -> list[Path]:
    where = paths.local(f"fsdd={folder!r}", folder)
    try:
        files = sorted(where.iterdir()) if folder else []
    except OSError:  # it is not there, no folder, or not ours to read
        files = []
    recordings = [f for f in files if NAME.fullmatch(f.name) or f.suffix.lower() in SUFFIXES]
    if not recordings:
        raise ValueError(
            f"fsdd={folder!r} is no folder with WAV or FLAC files: name one that holds recordings "
            "called {digit}_{speaker}_{index}.wav."
        )
    return recordings


def _split(path: Path, heldout_below: int) -> str | None:
    """None for a file whose name does not say."""
    if not (match := NAME.fullmatch(path.name)):
        return None
    return "heldout" if int(match["index"]) < heldout_below else "train"


def _read(path: Path, max_seconds: float) -> Take | Skipped:
    if not (match := NAME.fullmatch(path.name)):
        return Skipped(path.name, "misnamed: not {digit}_{speaker}_{index}.wav")
    if paths.half_character(path.name) is not None:
        return Skipped(path.name, "misnamed: its name is not UTF-8")
    try:
        recording = reading.load(path, max_seconds=max_seconds)
        digest = cache.digest(path)
    except reading.AudioError as error:
        return Skipped(path.name, error.reason)
    word, speaker = WORDS[int(match["digit"])], match["speaker"]
    utterance = Utterance(path.stem, recording.audio, word, speaker, "en")
    return Take(path.name, digest, recording, utterance)


def _text(recordings: Sequence[Utterance]) -> str:
    return " ".join(recording.text for recording in recordings)
