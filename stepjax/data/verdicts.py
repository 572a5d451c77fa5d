"""What is known of the files of a corpus: their content's hash, and whether they can be used.

A file is read once, and again after its size or its time of change differ. What was found is kept
in the cache, in one file for each corpus.
"""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from stepjax.audio import reading
from stepjax.audio.mel import SAMPLE_RATE
from stepjax.data import cache
from stepjax.data.entries import Entry

VERSION = 2  # of what `reading.load` accepts and of what is kept; raise it when that changes


class Verdict(NamedTuple):
    """Of one entry."""

    digest: str  # of the recording's file; "" if it cannot be read
    reason: str  # why the part cannot be used, or ""
    seconds: float = 0.0  # how long it lasts
    mixed: bool = False  # whether several channels are
    libraries: Sequence[str] = ()  # see reading.Recording


def verdicts(name: str, entries: Sequence[Entry], max_seconds: float, folder: str) -> list[Verdict]:
    """One for each entry.

    Args: name: of the corpus, to find again what was found.   folder: of the cache.
    """
    where = cache.path(folder, "recordings", VERSION, name, reading.LIBRARIES)
    known = json.loads(cache.recalled(where) or b"{}")
    parts = [_part(entry, max_seconds) for entry in entries]
    wanted = defaultdict(set)
    for entry, part in zip(entries, parts, strict=True):
        wanted[str(entry.path)].add(part)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # libsndfile and soxr work outside the GIL
        found = pool.map(lambda path: _examined(path, wanted[path], known.get(path)), wanted)
        facts = dict(zip(wanted, found, strict=True))
    if facts != known:
        cache.keep(where, json.dumps(facts).encode())
    files = (facts[str(entry.path)] for entry in entries)
    both = zip(files, parts, strict=True)
    return [Verdict(file["digest"], *file["parts"][part]) for file, part in both]


def _part(entry: Entry, max_seconds: float) -> str:
    """All that decides about a part of a file, as text."""
    return json.dumps((entry.start, entry.duration, entry.channel, max_seconds))


def _examined(path: str, wanted: set[str], known: dict | None) -> dict:
    """What is known of a file and of the parts that are wanted; only the rest is looked at."""
    stamp = _stamp(path)
    if known is None or known["stamp"] != stamp:
        known = {"stamp": stamp, "digest": _digest(path), "parts": {}}
    old = known["parts"]
    parts = {part: old[part] if part in old else _judged(path, part) for part in sorted(wanted)}
    return known | {"parts": parts}


def _judged(path: str, part: str) -> list:
    """All of a Verdict but the digest."""
    start, duration, channel, max_seconds = json.loads(part)
    try:
        recording = reading.load(path, start, duration, max_seconds, channel)
    except reading.AudioError as error:
        return [error.reason]
    seconds = len(recording.audio) / SAMPLE_RATE
    return ["", seconds, recording.mixed, list(recording.libraries)]


def _stamp(path: str) -> list[int]:
    """Size and time of the last change; zeros for a file that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]


def _digest(path: str) -> str:
    try:
        return cache.digest(path) if os.path.isfile(path) else ""
    except OSError:
        return ""
