"""The layouts that corpora come in, each recognised by what it is, and read without its library.

layout         recognised by                                       says
our own        JSONL with audio                                    audio, text, speaker, language,
                                                                   start, duration, channel
NeMo           JSONL with audio_filepath                           audio_filepath, text, offset, ...
Lhotse         see lhotse.py
Common Voice   TSV with path and sentence, clips/ beside it        path, sentence, client_id, locale
audiofolder    metadata.csv or .jsonl with file_name, or a folder  file_name; transcription, text or
               with such files                                     sentence; speaker, language
LibriSpeech    a folder with *.trans.txt files beside recordings   "ID WORDS" for ID.flac; the
                                                                   speaker is the ID up to its "-"

A JSONL file may be compressed (gzip). Lines end at a line feed and nowhere else. Fields that are
not named here are left alone, unless they are one letter off a named one that is missing, or tell
of a part of the recording in a way that is not read.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stepjax.data import lhotse
from stepjax.data.entries import Entry, misspelt
from stepjax.data.lines import Line, fields_of, lines_of, named, text_of
from stepjax.data.utterances import Skipped

Found = Entry | Skipped
METADATA = ("metadata.csv", "metadata.jsonl")
NO_TEXT = "no text: it does not say what is said"
RECORDINGS = (".flac", ".wav", ".mp3", ".ogg", ".opus")
# Our names of fields, and the others that mean the same.
FIELDS = {
    "audio": ("audio", "audio_filepath"),
    "text": ("text",),
    "speaker": ("speaker",),
    "language": ("language",),
    "start": ("start", "offset"),
    "duration": ("duration",),
    "channel": ("channel",),
}
PARTS = ("begin", "start_time", "end", "end_time", "stop")  # other names that say which part
COMMON_VOICE = {
    "audio": ("path",),
    "text": ("sentence",),
    "speaker": ("client_id",),
    "language": ("locale",),
}
LIBRISPEECH = {"audio": ("audio",), "text": ("text",), "speaker": ("speaker",)}
AUDIOFOLDER = {
    "audio": ("file_name",),
    "text": ("transcription", "text", "sentence"),
    "speaker": ("speaker",),
    "language": ("language",),
}


def entries_of(path: Path) -> list[Found]:
    """Every line of a corpus that is not blank: what it says, or why it cannot be used.

    Raises: ValueError, in one sentence, for what is no corpus and for a line that is malformed,
            with its number.
    """
    return _folder(path) if path.is_dir() else list(_file(path))


def _file(path: Path) -> Iterator[Found]:
    """A file with a line for each recording, or part of one."""
    match path.suffix.lower():
        case ".tsv":
            return _common_voice(lines_of(path))
        case ".csv":
            return _csv(path)
    return _jsonl(lines_of(path))


def _folder(root: Path) -> list[Found]:
    """A folder in one of the layouts that are more than a file."""
    files = list(_walk(root))
    readers = {
        "an audiofolder's metadata": (_file, [f for f in files if f.name in METADATA]),
        "LibriSpeech's transcripts": (_librispeech, [f for f in files if f.match("*.trans.txt")]),
        "Lhotse's manifests": (_file, [f for f in files if f.parent == root and _is_lhotse(f)]),
    }
    found = [name for name, (_, paths) in readers.items() if paths]
    if not found:
        raise ValueError(
            f"{root} is a folder, and no corpus: it holds none of {', '.join(readers)}; "
            "name a file, such as Common Voice's train.tsv."
        )
    if len(found) > 1:
        raise ValueError(f"{root} holds {' and '.join(found)}: name the file or folder of one.")
    read, paths = readers[found[0]]
    return [entry for path in paths for entry in read(path)]


def _walk(root: Path) -> Iterator[Path]:
    """The files of a folder and of those below it, in order; of links to one folder, the first."""
    seen = set()
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
        else:
            seen.add(real)
            yield from (Path(folder, name) for name in sorted(files))


def _refuse(error: OSError) -> None:
    raise ValueError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _is_lhotse(path: Path) -> bool:
    """Whether a file has Lhotse's cuts or supervisions; recordings are read with the latter."""
    named_so = "cuts" in path.name or "supervisions" in path.name
    return named_so and path.name.endswith((".jsonl", ".jsonl.gz"))


def _jsonl(lines: Sequence[Line]) -> Iterator[Found]:
    if not lines:
        return
    with named(lines[0]):
        first = fields_of(lines[0])
    ours = any(name in first for name in FIELDS["audio"])
    if not ours and any(is_kind(first) for is_kind in lhotse.KINDS):
        yield from lhotse.entries(lines)
        return
    layout = FIELDS if ours or "file_name" not in first else AUDIOFOLDER
    for line in lines:
        with named(line):
            yield _entry(fields_of(line), layout, line)


def _common_voice(lines: Sequence[Line]) -> Iterator[Found]:
    """Nothing is quoted in these tables, and no cell holds a tab."""
    if not lines:
        return
    header, *rows = lines
    columns = header.text.split("\t")
    with named(header):
        _check_header(columns, COMMON_VOICE)
    for line in rows:
        with named(line):
            fields = _row(columns, line.text.split("\t"))
            if fields["path"] and not Path(fields["path"]).suffix:
                fields["path"] += ".mp3"  # old tables leave it out
            yield _entry(fields, COMMON_VOICE, line, below="clips")


def _csv(path: Path) -> Iterator[Found]:
    reader = csv.reader(io.StringIO(text_of(path), newline="\n"), strict=True)
    columns, more = None, True
    while more:
        line = Line(path, reader.line_num + 1, "")
        with named(line):
            cells = _next_row(reader)
            more = cells is not None
            if not cells or not "".join(cells).strip():
                continue
            if columns is None:
                columns = cells
                _check_header(columns, AUDIOFOLDER)
            else:
                yield _entry(_row(columns, cells), AUDIOFOLDER, line)


def _next_row(reader) -> list[str] | None:
    """The cells of the next row; none for a blank line, None at the end."""
    try:
        return next(reader, None)
    except csv.Error as error:
        raise ValueError(str(error).partition(" - ")[0]) from error  # the rest is for programmers


def _librispeech(path: Path) -> Iterator[Found]:
    for line in lines_of(path):
        with named(line):
            name, _, text = line.text.strip().partition(" ")
            there = (s for s in RECORDINGS if os.path.exists(path.with_name(f"{name}{s}")))
            audio = f"{name}{next(there, RECORDINGS[0])}"
            fields = {"audio": audio, "text": text, "speaker": name.partition("-")[0]}
            yield _entry(fields, LIBRISPEECH, line)


def _check_header(columns: Sequence[str], layout: Mapping[str, Sequence[str]]) -> None:
    if len(set(columns)) < len(columns):
        raise ValueError("two of its columns have the same name")
    _check_fields(columns, layout)


def _check_fields(fields, layout: Mapping[str, Sequence[str]]) -> None:
    """Refuses fields that lack something, or look as if they were misspelt."""
    absent = {name: alike for name, alike in layout.items() if not set(alike) & set(fields)}
    if (
        wrong := misspelt(fields, [name for alike in absent.values() for name in alike])
    ) is not None:
        raise ValueError(wrong)
    needed = [" or ".join(absent[name]) for name in ("audio", "text") if name in absent]
    if needed:
        raise ValueError(f"it has no {' and no '.join(needed)}")


def _check_part(fields: Mapping, values: Mapping) -> None:
    """Refuses a line of which the wrong part would be trained on."""
    unread = [name for name in PARTS if name in fields]
    if unread and not ("start" in values and "duration" in values):
        raise ValueError(
            f"its field {unread[0]!r} is not read: say which part is meant with start and "
            "duration, in seconds"
        )


def _row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(columns):
        raise ValueError(f"it has {len(cells)} cells, and the header has {len(columns)}")
    return dict(zip(columns, cells, strict=True))


def _entry(
    fields: Mapping, layout: Mapping[str, Sequence[str]], line: Line, below: str = ""
) -> Found:
    """The entry of a line; in layouts that are not ours a recording may come without words.

    Args: below: the folder of the recordings in that of the table.
    """
    _check_fields(fields, layout)
    ours, values = layout is FIELDS, {}
    for name, alike in layout.items():
        given = [each for each in alike if each in fields]
        if ours and len(given) > 1:
            raise ValueError(f"it has both {' and '.join(given)}, which mean the same")
        if given and (ours or fields[given[0]] not in (None, "")):
            values[name] = fields[given[0]]
    if ours:
        _check_part(fields, values)
    if "audio" not in values:
        raise ValueError(f"its {layout['audio'][0]} is empty")
    if "text" not in values:
        return Skipped(str(values["audio"]), NO_TEXT, line.where)
    return Entry(**values, folder=line.path.parent / below, where=line.where)
