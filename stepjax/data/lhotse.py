"""Lhotse's manifests (github.com/lhotse-speech/lhotse), read without that library.

A cut is a part of a recording with the supervisions in it; a supervision says what is said in a
part of it. Cuts name their recordings whole. Supervisions name them by id, and the recordings lie
in a file beside: supervisions.jsonl.gz and recordings.jsonl.gz, or the same words within longer
names. Each supervision becomes one entry. A relative path starts at the manifest's folder, or if
there is no such file at the working directory, as in Lhotse.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from stepjax.data.entries import Entry, is_channel, is_time, misspelt, shown
from stepjax.data.lines import Line, fields_of, lines_of, named
from stepjax.data.utterances import Skipped

Found = Entry | Skipped
CUTS = ("MonoCut", "MultiCut", "Cut")  # older manifests say Cut
SUPERVISION = ("recording_id", "start", "duration", "text", "language", "speaker")
SLACK = 0.025  # seconds that a supervision may reach beyond its cut; Lhotse allows as much


class Unusable(Exception):
    """A line that is well-formed and cannot be trained on."""


def is_cut(fields: dict) -> bool:
    return "supervisions" in fields or "tracks" in fields


def is_recording(fields: dict) -> bool:
    return "sources" in fields


def is_supervision(fields: dict) -> bool:
    return "recording_id" in fields


KINDS = (is_cut, is_recording, is_supervision)


def entries(lines: Sequence[Line]) -> Iterator[Found]:
    """The entries of a file of Lhotse's, whichever of the three it is."""
    with named(lines[0]):
        first = fields_of(lines[0])
    if is_cut(first):
        for line in lines:
            with named(line):
                yield from _of_cut(fields_of(line), line)
    elif is_recording(first):
        yield from _of_pair(lines, _beside(lines[0].path, "recordings", "supervisions"))
    else:
        yield from _of_pair(_beside(lines[0].path, "supervisions", "recordings"), lines)


def _beside(path: Path, word: str, other: str) -> list[Line]:
    """The lines of the file that belongs to `path`: its name has the other word."""
    beside = path.with_name(path.name.replace(word, other))
    if beside == path or not beside.is_file():
        raise ValueError(
            f"{path} holds Lhotse's {word} and needs the {other} beside it: name the two files "
            f"alike, such as {word}.jsonl and {other}.jsonl, or give its cuts."
        )
    return lines_of(beside)


def _of_pair(recordings: Sequence[Line], supervisions: Sequence[Line]) -> Iterator[Found]:
    known, spoken = {}, set()
    for line in recordings:
        with named(line):
            recording = fields_of(line)
            name = _text(recording, "id")
            if name in known:
                raise ValueError(
                    f"the recording {shown(name)} is in line {known[name][0].number} too"
                )
            known[name] = (line, recording)
    for line in supervisions:
        with named(line):
            supervision = fields_of(line)
            name = _text(supervision, "recording_id")
            spoken.add(name)
            if name in known:
                yield _entry(known[name][1], supervision, 0.0, line)
            else:
                yield Skipped(name, "no recording: none has this id", line.where)
    for name, (line, _) in known.items():
        if name not in spoken:
            yield Skipped(name, "no text: it has no supervision", line.where)


def _of_cut(cut: dict, line: Line) -> Iterator[Found]:
    name = _text(cut, "id")
    kind = cut.get("type", "MonoCut")
    if kind not in CUTS:
        reason = f"cut: of the type {shown(kind)}, which is not a part of one recording"
        yield Skipped(name, reason, line.where)
        return
    if cut.get("recording") is None:
        yield Skipped(name, "no recording: the cut has none", line.where)
        return
    start, duration = _seconds(cut, "start"), _seconds(cut, "duration")
    recording = _object(cut["recording"], "recording")
    supervisions = _list(cut, "supervisions")
    if not supervisions:
        yield Skipped(name, "no text: it has no supervision", line.where)
    for supervision in supervisions:
        supervision = {"channel": cut.get("channel", 0)} | _object(supervision, "supervision")
        begin = supervision.get("start")
        if isinstance(begin, float) and -SLACK <= begin < 0:
            supervision["start"] = 0.0
        elif isinstance(begin, int | float) and begin < 0:
            yield Skipped(name, "cut: a supervision begins before it", line.where)
            continue
        if _seconds(supervision, "start") + _seconds(supervision, "duration") > duration + SLACK:
            yield Skipped(name, "cut: a supervision ends behind it", line.where)
            continue
        yield _entry(recording, supervision, start, line)


def _entry(recording: dict, supervision: dict, start: float, line: Line) -> Found:
    """What a supervision says of a recording; its times count from `start` on."""
    if (wrong := misspelt(supervision, SUPERVISION)) is not None:
        raise ValueError(wrong)
    name = str(supervision.get("id", _text(recording, "id")))
    if recording.get("transforms"):
        return Skipped(name, "transforms: the recording is to be changed by Lhotse", line.where)
    try:
        audio, channel = _file(recording, supervision.get("channel", 0))
    except Unusable as reason:
        return Skipped(name, str(reason), line.where)
    if not supervision.get("text"):
        return Skipped(name, "no text: it does not say what is said", line.where)
    folder = line.path.parent
    if not os.path.exists(folder / audio) and os.path.exists(audio):
        folder = Path()
    return Entry(
        audio,
        supervision["text"],
        speaker=supervision.get("speaker") or "",
        language=supervision.get("language") or "",
        start=start + _seconds(supervision, "start"),
        duration=_seconds(supervision, "duration"),
        channel=channel,
        folder=folder,
        where=line.where,
    )


def _file(recording: dict, channel) -> tuple[str, int | None]:
    """The file that holds a channel, or all of several, and its place in the file.

    The place is None if the file has one channel, or if several are wanted.
    """
    wanted = channel if isinstance(channel, list) else [channel]
    if not wanted or not all(map(is_channel, wanted)):
        raise ValueError(f"channel is {shown(channel)} and should be a number or a list of such")
    for source in _list(recording, "sources"):
        source = _object(source, "source")
        channels = _list(source, "channels")
        if not all(each in channels for each in wanted):
            continue
        if source.get("type") not in ("file", "url"):
            raise Unusable(f"source: it is of type {shown(source.get('type'))}, and not a file")
        single = len(channels) == 1 or len(wanted) > 1
        return _text(source, "source"), None if single else channels.index(wanted[0])
    raise Unusable(f"no channel {shown(channel)}: no file of the recording has it")


def _seconds(fields: dict, name: str) -> float:
    if not is_time(fields.get(name)):
        raise ValueError(f"{name} is {shown(fields.get(name))} and should be seconds, 0 or more")
    return fields[name]


def _text(fields: dict, name: str) -> str:
    if not isinstance(fields.get(name), str) or not fields[name]:
        raise ValueError(f"{name} is {shown(fields.get(name))} and should be text")
    return fields[name]


def _list(fields: dict, name: str) -> list:
    if not isinstance(fields.get(name), list):
        raise ValueError(f"{name} is {shown(fields.get(name))} and should be a list")
    return fields[name]


def _object(value, name: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {shown(value)} and should be an object")
    return value
