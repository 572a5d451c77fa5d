"""Recordings from disk: WAV, FLAC and whatever else libsndfile opens, as mono float32 at 16 kHz."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from stepjax.audio.mel import SAMPLE_RATE

SILENCE = (
    1e-4  # a recording that never gets louder than this, 80 dB below full scale, holds no speech
)


class AudioError(ValueError):
    """A recording that cannot be used. `reason` leaves out the path."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def read(path: str | Path, start: float = 0.0, duration: float | None = None,
         max_seconds: float | None = None) -> np.ndarray:  # fmt: skip
    """The first channel of a recording, or `duration` seconds of it from `start` seconds on.

    Returns: float32 [T] at 16 kHz.
    Raises:  AudioError if there is nothing usable in it, or if it lasts longer than `max_seconds`.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            first, count = _span(file, start, duration)
            seconds = count / rate
            _check_length(path, seconds, max_seconds)
            file.seek(first)
            audio_T = file.read(count, dtype="float32", always_2d=True)[:, 0]
    except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
        raise AudioError(path, f"unreadable: {error}") from error
    if len(audio_T) < count:
        raise AudioError(
            path, f"unreadable: breaks off after {len(audio_T) / rate:.2f} of {seconds:.2f} s"
        )
    if not np.isfinite(audio_T).all():
        raise AudioError(path, "not finite: it holds NaN or infinite samples")
    return checked(path, resample(audio_T, rate))


def resample(audio_T: np.ndarray, rate: float) -> np.ndarray:
    """Samples taken `rate` times a second -> samples at 16 kHz."""
    return audio_T if rate == SAMPLE_RATE else soxr.resample(audio_T, rate, SAMPLE_RATE)


def checked(path: str | Path, audio_T: np.ndarray, max_seconds: float | None = None) -> np.ndarray:
    """`audio_T` (16 kHz) itself, if there is something to hear and not too much of it."""
    if not len(audio_T):
        raise AudioError(path, "empty: it holds no samples")
    if np.abs(audio_T).max() < SILENCE:
        raise AudioError(path, f"silent: no sample reaches {SILENCE:g} of full scale")
    _check_length(path, len(audio_T) / SAMPLE_RATE, max_seconds)
    return audio_T


def _check_length(path: str | Path, seconds: float, max_seconds: float | None) -> None:
    if max_seconds is not None and seconds > max_seconds:
        raise AudioError(path, f"too long: {seconds:.2f} s, the limit is {max_seconds:g} s")


def _span(file: soundfile.SoundFile, start: float, duration: float | None) -> tuple[int, int]:
    """First sample and number of samples, within the file."""
    first = min(round(start * file.samplerate), file.frames)
    wanted = file.frames if duration is None else round(duration * file.samplerate)
    return first, min(wanted, file.frames - first)
