"""Speech without a download: eSpeak NG reads sentences aloud, in a process of its own.

Its global state, a crash of it, and its licence (GPL) stay on the other side of a pipe; see
engine.py.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stepjax.audio.reading import LIBRARIES, resample

ENGINE = Path(__file__).with_name("engine.py")  # run, never imported
LINES_PER_PROCESS = 500
SECONDS_TO_START = 60.0  # on a machine with much else to do
SECONDS_PER_LINE = 1.0  # a hundred times what it takes


@dataclasses.dataclass(frozen=True)
class Line:
    """What to say and how."""

    text: str
    voice: str  # language and variant, like "en-us+f2"
    speed: int = 170  # words a minute
    pitch: int = 50  # 0 to 99

    def __post_init__(self):
        if not self.text.strip() or "\0" in self.text:
            raise ValueError(
                f"text={self.text!r} cannot be spoken: it needs a character, and no NUL."
            )
        _, plus, variant = self.voice.partition("+")
        if plus and variant not in variants():  # the engine would quietly take another
            raise ValueError(
                f"voice={self.voice!r} has no variant {variant!r}: choose {', '.join(variants())}."
            )
        if not 80 <= self.speed <= 450:
            raise ValueError(f"speed={self.speed} words a minute is not within 80 to 450.")
        if not 0 <= self.pitch <= 99:
            raise ValueError(f"pitch={self.pitch} is not within 0 to 99.")


class SpeechError(RuntimeError):
    """The engine did not do its work; says on which line it stopped."""


def version() -> str:
    """Of engine, voices and resampler: the same version and the same line make the same samples."""
    engine = importlib.metadata.version("espeakng-loader")
    return f"espeakng-loader {engine}, libsoxr {LIBRARIES['libsoxr']}"


@functools.cache
def variants() -> tuple[str, ...]:
    """What may follow the + of a voice."""
    spec = importlib.util.find_spec("espeakng_loader")  # found, not loaded
    (package,) = spec.submodule_search_locations
    return tuple(sorted(path.name for path in Path(package, "espeak-ng-data/voices/!v").iterdir()))


def speak(lines: Sequence[Line]) -> list[np.ndarray]:
    """float32 [T] at 16 kHz for every line. Each is a pure function of its line, to the bit.

    Speaks about 200 sentences a second.
    """
    recordings = []
    for first in range(0, len(lines), LINES_PER_PROCESS):
        answers = _converse(lines[first : first + LINES_PER_PROCESS])
        recordings += [resample(pcm.astype(np.float32) / 2**15, rate) for rate, pcm in answers]
    return recordings


def _converse(lines: Sequence[Line]) -> list[tuple[int, np.ndarray]]:
    """Sends the lines to a new engine and takes its answers; the engine ends in any case."""
    command = [sys.executable, "-P", str(ENGINE)]
    requests = "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in lines).encode()
    limit = SECONDS_TO_START + SECONDS_PER_LINE * len(lines)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as engine:
        try:
            stdout, stderr = engine.communicate(requests, timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise SpeechError(
                f"The speech engine took over {limit:g} s for {len(lines)} lines."
            ) from error
        finally:
            if engine.returncode is None:  # late or interrupted: the engine and its fork go at once
                os.killpg(engine.pid, signal.SIGKILL)
                engine.wait()
    answers = _answers(stdout)
    if engine.returncode or len(answers) < len(lines):
        reason = stderr.decode(errors="replace").strip() or f"exit code {engine.returncode}"
        last = lines[min(len(answers), len(lines) - 1)]
        raise SpeechError(f"The speech engine stopped at {last}: {reason}")
    return answers


def _answers(stdout: bytes) -> list[tuple[int, np.ndarray]]:
    """Sample rate and int16 samples of every answer that is complete."""
    answers, position = [], 0
    while len(stdout) - position >= 8:
        rate, count = struct.unpack_from("=II", stdout, position)
        position += 8 + 2 * count
        if position <= len(stdout):
            answers.append((rate, np.frombuffer(stdout, np.int16, count, position - 2 * count)))
    return answers
