"""Damaged recordings, by the hundred: each is read, or refused with a reason; nothing else."""

import io

import numpy as np
import pytest
import soundfile

from stepjax.audio import reading
from stepjax.audio.mel import SAMPLE_RATE

MAX_SECONDS = 2.0
FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAV", "GSM610"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
MOST_CHANNELS = {"GSM610": 1, "IMA_ADPCM": 2, "MS_ADPCM": 2, "MPEG_LAYER_III": 2}
SIZES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def recording(rng, number):
    """The bytes of half a second of noise in one of the formats."""
    container, coding = FORMATS[number % len(FORMATS)]
    rate = int(rng.choice([8_000, 16_000, 24_000, 48_000]))
    most = MOST_CHANNELS.get(coding, 3)
    audio = rng.uniform(-0.5, 0.5, (rate // 2, rng.integers(1, most, endpoint=True)))
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format=container, subtype=coding)
    return bytearray(file.getvalue())


def flip(rng, content, first, last):
    first, last = min(first, len(content) - 1), min(last, len(content))
    for position in rng.integers(first, last, size=rng.integers(1, 9)):
        content[position] ^= 1 << rng.integers(8)
    return content


def flip_header(rng, content):
    return flip(rng, content, 0, 120)


def flip_body(rng, content):
    return flip(rng, content, 100, len(content))


def truncate(rng, content):
    return content[: rng.integers(1, len(content), endpoint=True)]


def wrong_size(rng, content):
    """Four bytes of the header become a size that is not true."""
    position = int(rng.integers(4, 90))
    content[position : position + 4] = int(rng.choice(SIZES)).to_bytes(4, "little")
    return content


def swap_pieces(rng, content):
    size = len(content) // 5
    a, b = sorted(rng.choice(5, size=2, replace=False) * size)
    one, other = content[a : a + size], content[b : b + size]
    content[a : a + size], content[b : b + size] = other, one
    return content


def lose_piece(rng, content):
    first = int(rng.integers(len(content)))
    return content[: first + 1] + content[first + int(rng.integers(2, 3_000)) :]


def insert_piece(rng, content):
    first = int(rng.integers(len(content)))
    return content[:first] + rng.bytes(int(rng.integers(1, 3_000))) + content[first:]


def erase_piece(rng, content):
    first, size = int(rng.integers(len(content))), int(rng.integers(1, 3_000))
    return content[:first] + bytes(min(size, len(content) - first)) + content[first + size :]


def repeat_all(rng, content):
    return content + content


DAMAGES = [
    flip_header,
    flip_body,
    truncate,
    wrong_size,
    swap_pieces,
    lose_piece,
    insert_piece,
    erase_piece,
    repeat_all,
]


def outcome(path, number):
    """What becomes of damaged recording `number`: its samples, or the reason."""
    rng = np.random.default_rng(number)
    content = recording(rng, number)
    for _ in range(rng.integers(1, 3)):
        content = DAMAGES[rng.integers(len(DAMAGES))](rng, content)
    path.write_bytes(content)
    start, duration = [(0.0, None), (0.1, 0.2)][rng.integers(2)]
    try:
        return reading.read(path, start, duration, MAX_SECONDS)
    except reading.AudioError as error:
        return error.reason


def check(folder, numbers):
    """Outcomes of both kinds, all of them fit to be trained on or to be told."""
    outcomes = [outcome(folder / "a", number) for number in numbers]
    for each in outcomes:
        if isinstance(each, str):
            kind, _, rest = each.partition(": ")
            assert kind and rest and "\n" not in each and len(each) < 200, each
        else:
            assert each.dtype == np.float32 and each.ndim == 1 and np.isfinite(each).all()
            assert 400 <= len(each) <= MAX_SECONDS * SAMPLE_RATE
            assert reading.SILENCE <= np.abs(each).max() <= 2 * reading.LOUDEST
    refused = sum(isinstance(each, str) for each in outcomes)
    assert len(outcomes) / 4 < refused < len(outcomes)
    return outcomes


def test_damaged_recordings_are_read_or_refused_with_a_reason(tmp_path):
    check(tmp_path, range(500))


@pytest.mark.slow
def test_many_more_damaged_recordings_are_read_or_refused_with_a_reason(tmp_path):
    check(tmp_path, range(500, 10_500))
