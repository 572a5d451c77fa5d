"""What a trained model makes of recordings, and how much of it is wrong where that is known."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stepjax.audio import reading
from stepjax.data.corpora import entries_of
from stepjax.data.entries import Entry
from stepjax.data.sources import open_source
from stepjax.data.utterances import Skipped, Utterance
from stepjax.disk.files import read_json
from stepjax.evaluate.error_rates import cer, wer
from stepjax.infer.load import config_of
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
    for path in paths:
        try:
            audio_T = reading.read(path, max_seconds=recipe.max_seconds)
        except reading.AudioError as error:
            yield Skipped(path, error.reason)
        else:
            yield Utterance(path, audio_T, "", "", "")


def manifest(path: Path, recipe: Recipe) -> Iterator[Utterance | Skipped]:
    """The recordings that a corpus names, with references; what cannot be used has its reason.

    Args:   path: a file or folder in one of the layouts that `stepjax.data.corpora` reads.
    Raises: ValueError, in one sentence, if it is none.
    """
    for entry in entries_of(path):
        yield entry if isinstance(entry, Skipped) else _heard(entry, recipe)


def heldout(workdir: Path) -> Iterator[Utterance]:
    """What a run was scored by.

    Raises: ValueError, in one sentence, if the run's corpus is not there, or is no longer the same.
    """
    source = open_source(config_of(workdir).data, "heldout")
    known = read_json(workdir / "identity.json")
    for name, value in source.identity().items():
        if known.get(f"corpus.heldout.{name}") != value:
            raise ValueError(
                f"the held-out {name} of {workdir}'s corpus: no longer what the run was scored by; "
                "put it back, or give --manifest=FILE for another."
            )
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


def _heard(entry: Entry, recipe: Recipe) -> Utterance | Skipped:
    limit = recipe.max_seconds
    try:
        audio_T = reading.read(entry.path, entry.start, entry.duration, limit, entry.channel)
    except reading.AudioError as error:
        return Skipped(entry.name, error.reason, entry.where)
    return Utterance(entry.name, audio_T, entry.text, entry.speaker, entry.language)
