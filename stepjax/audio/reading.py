"""Recordings from disk: WAV, FLAC, MP3, Ogg and some more, as mono float32 at 16 kHz.

T samples   C channels
"""

import contextlib
import dataclasses
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from stepjax.audio import containers
from stepjax.audio.mel import SAMPLE_RATE, WINDOW

FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "AU", "NIST", "FLAC", "OGG", "MP3")
INEXACT = ("VORBIS", "OPUS", "MPEG")  # codings of which decoders may make slightly other samples
BY_SAMPLE = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # codings without blocks
NOT_RECOGNISED = 1  # libsndfile's number for a file that begins like no format
SILENCE = 1e-4  # of full scale: a channel that never gets louder, 80 dB below it, holds no speech
LOUDEST = 2.0**31  # of full scale: integers of 32 bits, written as they are; nothing goes beyond
SHORTEST = WINDOW / SAMPLE_RATE  # seconds: one frame of the mel front end
RATES = (1_000, 1_000_000)  # samples a second that may hold speech: the least and the most
SLACK = 0.025  # seconds that may be missing: durations are rounded, and Lhotse allows as much
BLOCK = 2**20  # samples read at once
UNKNOWN = 2**36 - 1  # samples; a FLAC header that does not know says so by more, or by all its bits


class AudioError(ValueError):
    """A recording that cannot be used. `reason` leaves out the path."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


LIBRARIES = {
    "libsndfile": soundfile.__libsndfile_version__,
    "libsoxr": soxr.__libsoxr_version__.removeprefix("libsoxr-"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """What was read, and what it depends on beside the file."""

    audio: np.ndarray  # float32 [T] at 16 kHz
    mixed: bool  # whether it is the mean of several channels
    libraries: tuple[str, ...]  # of LIBRARIES: those whose version decides the samples


class _Forward(soundfile.SoundFile):
    """Read from front to back; soundfile would seek after each read, which not all files stand."""

    can_seek = soundfile.SoundFile.seekable

    def seekable(self) -> bool:
        return False


def read(path: str | Path, start: float = 0.0, duration: float | None = None,
         max_seconds: float | None = None, channel: int | None = None) -> np.ndarray:  # fmt: skip
    """The samples of `load`: float32 [T] at 16 kHz."""
    return load(path, start, duration, max_seconds, channel).audio


def load(path: str | Path, start: float = 0.0, duration: float | None = None,
         max_seconds: float | None = None, channel: int | None = None) -> Recording:  # fmt: skip
    """A recording, or `duration` seconds of it from `start` seconds on.

    Args:    channel: which channel, from 0; None for the mean of those that are not silent.
    Raises:  AudioError if there is nothing usable in it, or if it lasts longer than `max_seconds`.
    """
    with _opened(path) as file:
        rate, coding = file.samplerate, file.subtype
        audio_TC = _samples(path, file, start, duration, max_seconds)
    _check_length(path, len(audio_TC) / rate, max_seconds)
    audio_T, mixed = _one_channel(path, audio_TC, channel)
    decides = {"libsndfile": coding.startswith(INEXACT), "libsoxr": rate != SAMPLE_RATE}
    libraries = tuple(name for name, decisive in decides.items() if decisive)
    audio_T = checked(path, resample(audio_T, rate), max_seconds)  # it may have become longer
    return Recording(audio_T, mixed, libraries)


def resample(audio_T: np.ndarray, rate: float) -> np.ndarray:
    """Samples taken `rate` times a second -> samples at 16 kHz."""
    return audio_T if rate == SAMPLE_RATE else soxr.resample(audio_T, rate, SAMPLE_RATE)


def checked(path: str | Path, audio_T: np.ndarray, max_seconds: float | None = None) -> np.ndarray:
    """`audio_T` (16 kHz) itself, if there is something to hear and not too much of it."""
    _check_length(path, len(audio_T) / SAMPLE_RATE, max_seconds)
    _check_loudness(path, audio_T)
    return audio_T


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[_Forward]:
    """The decoder of a file whose container is whole; errors become reasons."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(path, "unreadable: it is no file")
        if not status.st_size:
            raise AudioError(path, "empty: the file has no bytes")
        with open(path, "rb", buffering=0) as file:
            extent = containers.extent(file.fileno(), status)
            if extent and extent.unsized:
                file = containers.sized(file.read(), extent)
            with _decoder(path, file) as decoder:
                _check_extent(path, decoder, extent)
                yield decoder
    except containers.Broken as error:
        raise AudioError(path, str(error)) from error
    except OSError as error:
        raise AudioError(path, f"unreadable: {error.strerror}") from error
    except soundfile.LibsndfileError as error:
        raise AudioError(path, f"damaged: {_said(error)}") from error


def _decoder(path: str | Path, file: BinaryIO) -> _Forward:
    """By descriptor where there is one: given a name, libsndfile guesses from its ending."""
    try:
        opened = _Forward(file if isinstance(file, io.BytesIO) else file.fileno(), closefd=False)
    except soundfile.LibsndfileError as error:
        if error.code == NOT_RECOGNISED:
            raise AudioError(path, containers.not_read(path)) from error
        raise AudioError(path, f"unreadable: {_said(error)}") from error
    if opened.format not in FORMATS:
        reason = f"format {opened.format}: it is not read; convert it to WAV or FLAC"
    elif not RATES[0] <= opened.samplerate <= RATES[1]:
        reason = f"no speech: its header says {opened.samplerate} samples a second"
    else:
        return opened
    opened.close()
    raise AudioError(path, reason)


def _said(error: soundfile.LibsndfileError) -> str:
    """libsndfile's words, as its own: they come with an "Error :" or not, and some are untrue."""
    words = error.error_string.removeprefix("Error : ").removesuffix(".")
    if words.startswith("File does not exist"):
        return "it has a header and no frame"
    return f"libsndfile says {words!r}"


def _check_extent(path: str | Path, file: _Forward, extent: containers.Extent | None) -> None:
    """Refuses a file that holds less, or more, than its header tells of."""
    if extent is None or extent.present == extent.declared:
        return
    if not extent.present:
        raise AudioError(path, "breaks off: its header is there, and no samples")
    if not extent.declared:
        raise AudioError(path, "header: it tells of no samples, and there are some")
    read = max(1, file.frames) / file.samplerate  # seconds of what libsndfile takes for samples
    second = min(extent.present, extent.declared) / read  # bytes
    present, declared = extent.present / second, extent.declared / second
    if declared - present > (SLACK if file.subtype.startswith(BY_SAMPLE) else 0.0):
        raise AudioError(path, f"breaks off: after {present:.2f} of {declared:.2f} s")
    if present - declared > SLACK:
        reason = f"header: it tells of {declared:.2f} s, and {present:.2f} s are there"
        raise AudioError(path, reason)


def _samples(
    path: str | Path,
    file: _Forward,
    start: float,
    duration: float | None,
    max_seconds: float | None,
) -> np.ndarray:
    """The part that is wanted, float32 [T, C] at the file's own rate."""
    rate = file.samplerate
    total = file.frames if file.frames < UNKNOWN else None
    first, count = round(start * rate), None if duration is None else round(duration * rate)
    if total is not None:
        _check_span(path, first / rate, count and count / rate, total / rate)
        count = max(0, total - first) if count is None else min(count, total - first)
        _check_longest(path, count / rate, max_seconds)
    # An MP3 decoder rounds otherwise before its first seek, so it seeks to 0 too.
    moves = first or file.subtype.startswith("MPEG")
    seeks = moves and total is not None and file.can_seek()
    skip = 0 if seeks else first
    if seeks:
        file.seek(first)
    audio_TC = _forward(file, None if count is None else skip + count)
    if total is None:
        _check_span(path, first / rate, count and count / rate, len(audio_TC) / rate)
    found = max(0, len(audio_TC) - skip) / rate
    if total is not None and found < count / rate - SLACK:
        reason = f"damaged: of {count / rate:.2f} s only {found:.2f} s can be decoded"
        raise AudioError(path, reason)
    return audio_TC[skip:]


def _forward(file: _Forward, wanted: int | None) -> np.ndarray:
    """The next samples, as many as wanted and there; None for all."""
    blocks, read = [np.zeros((0, file.channels), np.float32)], 0
    while wanted is None or read < wanted:
        size = BLOCK if wanted is None else min(BLOCK, wanted - read)
        blocks.append(file.read(size, dtype="float32", always_2d=True))
        read += len(blocks[-1])
        if len(blocks[-1]) < size:
            break
    return blocks[-1] if len(blocks) <= 2 else np.concatenate(blocks)


def _one_channel(
    path: str | Path, audio_TC: np.ndarray, channel: int | None
) -> tuple[np.ndarray, bool]:
    """The channel that is wanted, or the mean of those that are not silent; and if it is a mean."""
    channels = audio_TC.shape[1]
    if channel is not None and channel >= channels:
        raise AudioError(path, f"no channel {channel}: it has {channels}, counted from 0")
    if channel is not None:
        audio_TC = audio_TC[:, channel : channel + 1]
    peak_C = np.abs(audio_TC).max(axis=0)
    if not np.isfinite(peak_C).all():
        raise AudioError(path, "not finite: it holds NaN or infinite samples")
    if peak_C.max() > LOUDEST:
        reason = f"no scale: a sample is {peak_C.max():.2g} times full scale"
        raise AudioError(path, reason)
    (heard,) = np.nonzero(peak_C >= SILENCE)
    if len(heard) < 2:
        return audio_TC[:, heard[0] if len(heard) else 0], False
    audio_T = audio_TC[:, heard].mean(axis=1)
    if np.abs(audio_T).max() < SILENCE:
        reason = "silent: its channels cancel each other; choose one with the field channel"
        raise AudioError(path, reason)
    return audio_T, True


def _check_span(path: str | Path, start: float, duration: float | None, total: float) -> None:
    """All in seconds."""
    if start and start >= total:
        raise AudioError(
            path, f"beyond the file: it lasts {total:.2f} s, the start is {start:.2f} s"
        )
    if duration is not None and start + duration > total + SLACK:
        end = start + duration
        raise AudioError(path, f"beyond the file: it lasts {total:.2f} s, the end is {end:.2f} s")


def _check_length(path: str | Path, seconds: float, max_seconds: float | None) -> None:
    if not seconds:
        raise AudioError(path, "empty: it holds no samples")
    if seconds < SHORTEST:
        least, most = 1000 * SHORTEST, 1000 * seconds
        raise AudioError(path, f"too short: {most:.2g} ms, the least is {least:g} ms")
    _check_longest(path, seconds, max_seconds)


def _check_longest(path: str | Path, seconds: float, max_seconds: float | None) -> None:
    if max_seconds is not None and seconds > max_seconds:
        raise AudioError(path, f"too long: {seconds:.2f} s, the limit is {max_seconds:g} s")


def _check_loudness(path: str | Path, audio_T: np.ndarray) -> None:
    if np.abs(audio_T).max() < SILENCE:
        raise AudioError(path, f"silent: no sample reaches {SILENCE:g} of full scale")
