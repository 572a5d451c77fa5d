"""A corpus of one's own: a JSONL file, each line of which names a recording and says what is said
in it.

   {"audio": "talks/a.flac", "text": "good morning", "speaker": "ann", "language": "en",
    "start": 2.5, "duration": 3}

An entry is one line. Only audio and text must be there; relative paths start at the manifest's
folder; other fields are left alone.
"""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stepjax.audio import reading
from stepjax.data import cache
from stepjax.data.draws import share
from stepjax.data.utterances import (
    Skipped,
    Source,
    Utterance,
    check_skipped,
    check_split,
    combined,
    position,
)

VERDICTS = 2  # the version of what `read` accepts; raise it when that changes


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of a manifest."""

    audio: str
    text: str
    speaker: str = ""
    language: str = ""
    start: float = 0.0  # seconds
    duration: float | None = None  # seconds; None: to the end

    def __post_init__(self):
        for field in ("audio", "text", "speaker", "language"):
            value = getattr(self, field)
            if not isinstance(value, str) or (field in ("audio", "text") and not value.strip()):
                raise ValueError(f"{field} is {value!r} and should be text")
        if not _is_time(self.start):
            raise ValueError(f"start is {self.start!r} and should be seconds, 0 or more")
        if self.duration is not None and not (_is_time(self.duration) and self.duration > 0):
            raise ValueError(f"duration is {self.duration!r} and should be seconds, more than 0")

    @property
    def name(self) -> str:
        if self.start == 0 and self.duration is None:
            return self.audio
        return f"{self.audio}@{self.start:g}" + (
            "" if self.duration is None else f"+{self.duration:g}"
        )


class Manifest(Source):
    """Recordings on disk, read when they are asked for."""

    def __init__(
        self,
        folder: Path,
        entries: Sequence[Entry],
        digests: Sequence[str],
        skipped: Sequence[Skipped],
    ):
        """`digests` are of the entries' files."""
        self._folder, self._entries, self.skipped = folder, tuple(entries), tuple(skipped)
        self._digests = tuple(digests)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, i: int) -> Utterance:
        entry = self._entries[position(i, len(self))]
        audio_T = reading.read(self._folder / entry.audio, entry.start, entry.duration)
        return Utterance(entry.name, audio_T, entry.text, entry.speaker, entry.language)

    def texts(self) -> list[str]:
        return [entry.text for entry in self._entries]

    def identity(self) -> dict[str, str]:
        entries = (json.dumps(dataclasses.astuple(entry)) for entry in self._entries)
        return {"entries": combined(entries), "recordings": combined(self._digests)}


def manifest(config, split: str) -> Manifest:
    """The recordings of one split that can be used.

    A recording is held out or not by its path as written, so parts of one never end up on both
    sides, and adding lines moves none. Reads: manifest, heldout_share, max_seconds, max_skipped,
    cache.
    """
    check_split(split)
    path = Path(config.manifest).expanduser()
    heldout = {True: "heldout", False: "train"}
    entries = [
        e for e in entries_of(path) if heldout[share(e.audio) < config.heldout_share] == split
    ]
    if not entries:
        raise ValueError(f"No line of {path} falls into the {split} split: add recordings, or change "
                         f"heldout_share={config.heldout_share:g}.")  # fmt: skip
    verdicts = _verdicts(path.parent, entries, config.max_seconds, config.cache)
    judged = list(zip(entries, verdicts, strict=True))
    skipped = [Skipped(e.name, reason) for e, (_, reason) in judged if reason]
    check_skipped(skipped, len(entries), str(path), config.max_skipped)
    usable = [(e, digest) for e, (digest, reason) in judged if not reason]
    return Manifest(path.parent, *zip(*usable, strict=True), skipped)


def entries_of(path: Path) -> list[Entry]:
    """Every line that is not blank; a malformed one is named by its number."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"manifest={str(path)!r} cannot be read as a text file: {error}."
        ) from error
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries += [_entry(line)] if line.strip() else []
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: {error}; wanted is {{"audio": path, "text": words}}, '
                             "with speaker, language, start and duration if known.") from error  # fmt: skip
    return entries


def _entry(line: str) -> Entry:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    if missing := {"audio", "text"} - fields.keys():
        raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
    known = {field.name for field in dataclasses.fields(Entry)}
    return Entry(**{name: value for name, value in fields.items() if name in known})


def _is_time(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _verdicts(
    folder: Path, entries: Sequence[Entry], max_seconds: float, cache_folder: str
) -> list[list[str]]:
    """For each recording the hash of its file, and why it cannot be used, or "".

    Each is read once, and again after it has changed.
    """
    facts = [
        (str(folder / e.audio), e.start, e.duration, *_stamp(folder / e.audio)) for e in entries
    ]
    where = cache.path(cache_folder, "verdicts", VERDICTS, max_seconds, facts)

    def read_all() -> bytes:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # libsndfile and soxr work outside the GIL
            return json.dumps(
                list(pool.map(lambda e: _verdict(folder, e, max_seconds), entries))
            ).encode()

    return json.loads(cache.kept(where, read_all))


def _verdict(folder: Path, entry: Entry, max_seconds: float) -> tuple[str, str]:
    path = folder / entry.audio
    try:
        reading.read(path, entry.start, entry.duration, max_seconds)
        return cache.digest(path), ""
    except reading.AudioError as error:
        return "", error.reason


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change; zeros for a file that isn't there."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
