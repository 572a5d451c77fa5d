"""A line of a corpus: which recording, which part of it, and what is said there."""

import dataclasses
import functools
import re
from pathlib import Path

from stepjax.data import paths

LONGEST = 1e9  # seconds: 30 years, more than any recording
CHANNELS = 1024  # more than any recording has
SHOWN = 60  # characters of a wrong value that an error repeats


@dataclasses.dataclass(frozen=True)
class Entry:
    """What one line says, checked. `folder` and `where` tell where the line stands."""

    audio: str  # the path as written
    text: str
    speaker: str = ""
    language: str = ""
    start: float = 0.0  # seconds
    duration: float | None = None  # seconds; None: to the end
    channel: int | None = None  # from 0; None: the mean of those that are not silent
    folder: Path = Path()  # where relative paths begin
    where: str = ""  # such as "corpus.jsonl, line 3"

    def __post_init__(self):
        for field in ("audio", "text", "speaker", "language"):
            value = getattr(self, field)
            if not isinstance(value, str) or (field in ("audio", "text") and not value.strip()):
                raise ValueError(f"{field} is {shown(value)} and should be text")
            if (half := paths.half_character(value)) is not None:
                raise ValueError(f"{field} holds half a character, {half}")
        if not is_time(self.start):
            raise ValueError(f"start is {shown(self.start)} and should be seconds, 0 or more")
        if self.duration is not None and not (is_time(self.duration) and self.duration > 0):
            duration = shown(self.duration)
            raise ValueError(f"duration is {duration} and should be seconds, more than 0")
        if self.channel is not None and not is_channel(self.channel):
            channel = shown(self.channel)
            raise ValueError(
                f"channel is {channel} and should be a number from 0 to {CHANNELS - 1}"
            )
        _ = self.path  # refuses what is no path

    @functools.cached_property
    def path(self) -> Path:
        return self.folder / paths.local(f"audio {shown(self.audio)}", self.audio)

    @property
    def name(self) -> str:
        """The path, and the part and channel if it is not all."""
        part = "" if self.start == 0 and self.duration is None else f"@{self.start:g}"
        part += "" if self.duration is None else f"+{self.duration:g}"
        return self.audio + part + ("" if self.channel is None else f"#{self.channel}")

    @property
    def content(self) -> tuple:
        """All that decides the sample, beside the recording itself."""
        return (
            self.audio,
            self.text,
            self.speaker,
            self.language,
            self.start,
            self.duration,
            self.channel,
        )


def is_time(value) -> bool:
    """Whether a value is a number of seconds, 0 or more."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < LONGEST


def is_channel(value) -> bool:
    """Whether a value is the number of a channel, from 0."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return number and 0 <= value < CHANNELS


def shown(value) -> str:
    """A value as an error repeats it: not all of it if it is long."""
    said = repr(value)
    return said if len(said) <= SHOWN else f"{said[:SHOWN]}..."


def misspelt(fields, known) -> str | None:
    """A sentence on a field that is one letter off a known one which is missing; None if none is.

    >>> misspelt(["audio", "txt", "mood"], ["audio", "text", "speaker"])
    "it has no field 'text', but one called 'txt': call it 'text', or something else"
    """
    missing = [name for name in known if name not in fields]
    for field in fields:
        for name in missing:
            if field not in known and one_letter_off(field, name):
                return (
                    f"it has no field {name!r}, but one called {field!r}: call it {name!r}, or "
                    "something else"
                )
    return None


def one_letter_off(one: str, other: str) -> bool:
    """Whether a letter is missing, too many, wrong, or swapped with the next; case does not count.

    >>> [one_letter_off("speaker", word) for word in ("speeker", "speakers", "spaeker", "listener")]
    [True, True, True, False]
    """
    one, other = sorted((re.sub(r"[\W_]", "", word).lower() for word in (one, other)), key=len)
    same = 0
    while same < len(one) and one[same] == other[same]:
        same += 1
    rest, longer = one[same:], other[same:]
    swapped = len(rest) > 1 and rest[:2] == longer[1::-1] and rest[2:] == longer[2:]
    return swapped or rest == longer[1:] or rest[1:] == longer[1:]
