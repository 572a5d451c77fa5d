"""A corpus of one's own: recordings on disk, and a file or folder that says what is said in them.

   {"audio": "talks/a.flac", "text": "good morning", "speaker": "ann", "language": "en",
    "start": 2.5, "duration": 3, "channel": 0}

That is a line of our own layout, of which only audio and text must be there; relative paths start
at the manifest's folder. corpora.py lists the layouts of others that are read as well.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from stepjax.audio import reading
from stepjax.data import corpora, paths
from stepjax.data.draws import share
from stepjax.data.entries import Entry
from stepjax.data.utterances import (
    Skipped,
    Source,
    Utterance,
    check_skipped,
    check_split,
    combined,
    position,
)
from stepjax.data.verdicts import Verdict, verdicts


class Manifest(Source):
    """Recordings on disk, read when they are asked for."""

    def __init__(
        self,
        entries: Sequence[Entry],
        verdicts: Sequence[Verdict],
        skipped: Sequence[Skipped],
    ):
        """`verdicts` are on the entries."""
        self._entries, self._verdicts = tuple(entries), tuple(verdicts)
        self.skipped = tuple(skipped)
        both = zip(entries, verdicts, strict=True)
        self.mixed = len({entry.path for entry, verdict in both if verdict.mixed})

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, i: int) -> Utterance:
        entry = self._entries[position(i, len(self))]
        audio_T = reading.read(entry.path, entry.start, entry.duration, channel=entry.channel)
        return Utterance(entry.name, audio_T, entry.text, entry.speaker, entry.language)

    def texts(self) -> list[str]:
        return [entry.text for entry in self._entries]

    def identity(self) -> dict[str, str]:
        """The entries, the recordings, and the libraries without which these say too little."""
        libraries = sorted({name for verdict in self._verdicts for name in verdict.libraries})
        return {
            "entries": combined(json.dumps(entry.content) for entry in self._entries),
            "recordings": combined(verdict.digest for verdict in self._verdicts),
            **{name: reading.LIBRARIES[name] for name in libraries},
        }


def manifest(config, split: str) -> Manifest:
    """The recordings of one split that can be used.

    A recording is held out or not by its path from the corpus on, so parts of one never end up on
    both sides, and adding lines moves none. Reads: manifest, heldout_share, max_seconds,
    max_tokens_per_second, max_skipped, cache.
    """
    check_split(split)
    path = _path(config.manifest)
    found = corpora.entries_of(path)
    mine = [each for each in found if _split(each, config.heldout_share) == split]
    if not mine:
        raise ValueError(_empty(path, found, split, config.heldout_share))
    entries = [each for each in mine if isinstance(each, Entry)]
    corpus = f"{split} {path.absolute()}"
    judged = zip(entries, verdicts(corpus, entries, config.max_seconds, config.cache), strict=True)
    usable, skipped = [], [each for each in mine if isinstance(each, Skipped)]
    for entry, verdict in judged:
        reason = verdict.reason or _too_much(entry, verdict, config.max_tokens_per_second)
        if reason:
            skipped.append(Skipped(entry.name, reason, entry.where))
        else:
            usable.append((entry, verdict))
    check_skipped(skipped, len(mine), str(path), config.max_skipped)
    return Manifest(*zip(*usable, strict=True), skipped)


def _path(written: str) -> Path:
    path = paths.local(f"manifest={written!r}", written)
    if not written or not (os.path.isfile(path) or os.path.isdir(path)):
        raise ValueError(
            f"manifest={written!r} is no file and no folder: name a JSONL file, or a corpus in one "
            "of the layouts that stepjax/data/README.md lists."
        )
    return path


def _too_much(entry: Entry, verdict: Verdict, limit: float) -> str:
    """Why a text is too long for its recording, or "".

    One such line would make the rows of the whole run longer. Its bytes are counted, since no text
    has more tokens; a recording shorter than a second counts as one.
    """
    tokens, seconds = len(entry.text.encode()), max(1.0, verdict.seconds)
    if tokens <= limit * seconds:
        return ""
    return (
        f"too much text: {tokens} bytes in {verdict.seconds:.2f} s, the limit is {limit:g} a "
        "second (max_tokens_per_second)"
    )


def _split(each: Entry | Skipped, heldout_share: float) -> str:
    return "heldout" if _place(each) < heldout_share else "train"


def _place(each: Entry | Skipped) -> float:
    """The share of its recording, however the path is written: a.wav is ./a.wav."""
    return share(os.path.normpath(each.audio if isinstance(each, Entry) else each.name))


def _empty(path: Path, found: Sequence[Entry | Skipped], split: str, heldout_share: float) -> str:
    """Why a split has no line, and what to do."""
    if not found:
        return f"{path} holds no line: write one for each recording."
    shares = {_place(each) for each in found}
    if len(shares) == 1:
        return (
            f"No line of {path} falls into the {split} split, since all {len(found)} are of one "
            "recording, and a recording is either trained on or held out: cut it into several "
            "files, or add others."
        )
    least = math.ceil(1000 * min(shares) + 1) / 1000
    change = (
        f"heldout_share={heldout_share:g}, such as to {least:g}"
        if split == "heldout"
        else (f"heldout_share={heldout_share:g} to less")
    )
    return (
        f"No line of {path} falls into the {split} split, with {len(shares)} recordings: add "
        f"recordings, or change {change}."
    )
