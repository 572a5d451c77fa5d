"""What a trained model makes of recordings, and how much of it is wrong where that is known."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stepjax.audio import reading
from stepjax.audio.mel import SAMPLE_RATE
from stepjax.data.corpora import entries_of
from stepjax.data.entries import Entry
from stepjax.data.utterances import Skipped, Source, Utterance
from stepjax.evaluate.error_rates import cer, wer
from stepjax.infer.transcribe import Transcriber
from stepjax.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was said in a recording, or why it could not be used."""

    name: str
    text: str
    reference: str  # what should have been said; "" where that is not known
    reason: str  # why there is no text; "" where there is one

    def __str__(self) -> str:
        said = f"not used, {self.reason}" if self.reason else self.text
        return " ".join(f"{self.name}: {said}".split())


@dataclasses.dataclass(frozen=True)
class Rates:
    """Errors of transcripts, as fractions of what should have been said."""

    wer: float
    cer: float
    recordings: int

    def __str__(self) -> str:
        return (
            f"{self.recordings} recordings: word error rate {100 * self.wer:.1f} %, character "
            f"error rate {100 * self.cer:.1f} % ({self.wer!r} and {self.cer!r})"
        )


def files(paths: Iterable[str], recipe: Recipe) -> Iterator[Utterance | Skipped]:
    """Recordings by their paths, without references; what cannot be used has its reason."""
    return (_heard(Entry(path, text=path), recipe, reference="") for path in paths)


def manifest(path: Path, recipe: Recipe) -> Iterator[Utterance | Skipped]:
    """The recordings that a manifest names, with references; what cannot be used has its reason.

    Raises: ValueError, if the manifest cannot be read.
    """
    found = entries_of(path)
    return (e if isinstance(e, Skipped) else _heard(e, recipe, e.text) for e in found)


def every(source: Source) -> Iterator[Utterance]:
    return (source[i] for i in range(len(source)))


def transcripts(
    transcriber: Transcriber, recordings: Iterable[Utterance | Skipped]
) -> Iterator[Transcript]:
    """A transcript for each recording, in order."""
    recordings = iter(recordings)
    while some := list(itertools.islice(recordings, transcriber.at_once)):
        usable = [each for each in some if isinstance(each, Utterance)]
        texts = iter(transcriber.texts(usable) if usable else [])
        for each in some:
            if isinstance(each, Skipped):
                yield Transcript(each.name, "", "", each.reason)
            else:
                yield Transcript(each.name, next(texts), each.text, "")


def rates(made: Sequence[Transcript]) -> Rates:
    """The error rates of all recordings that could be used. Raises ValueError if there are none."""
    usable = [each for each in made if not each.reason]
    if not usable:
        raise ValueError(f"none of {len(made)} recordings can be used, so there is no error rate.")
    references, texts = [each.reference for each in usable], [each.text for each in usable]
    return Rates(wer(references, texts), cer(references, texts), len(usable))


def _heard(entry: Entry, recipe: Recipe, reference: str) -> Utterance | Skipped:
    limit = recipe.max_samples / SAMPLE_RATE
    try:
        audio_T = reading.read(entry.path, entry.start, entry.duration, limit, entry.channel)
    except reading.AudioError as error:
        return Skipped(entry.name, error.reason, entry.where)
    return Utterance(entry.name, audio_T, reference, entry.speaker, entry.language)
