"""Headers that tell the truth, headers of streams, and headers that lie."""

import os
import re
import struct

import numpy as np
import pytest
import soundfile

from stepjax.audio import containers, reading
from stepjax.audio.containers import Broken, Extent

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
SPEECH = NOISE * np.sin(np.arange(16_000) / 3_000)


def made(path, audio=SPEECH, **kwargs):
    kwargs |= {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, audio, 16_000, **kwargs)
    return path.read_bytes()


def extent(path, content):
    path.write_bytes(content)
    with open(path, "rb") as file:
        return containers.extent(file.fileno(), os.stat(path))


def broken(path, content):
    with pytest.raises(Broken) as raised:
        extent(path, content)
    return str(raised.value)


@pytest.mark.parametrize(
    "name, kwargs",
    [
        ("a.wav", {}),
        ("a.wav", {"format": "WAVEX"}),
        ("a.wav", {"format": "RF64"}),
        ("a.wav", {"endian": "BIG"}),
        ("a.aiff", {}),
        ("a.au", {}),
        ("a.au", {"endian": "LITTLE"}),
        ("a.wav", {"format": "NIST"}),
    ],
)
def test_headers_tell_how_many_bytes_of_samples_there_are(tmp_path, name, kwargs):
    content = made(tmp_path / name, subtype="PCM_16", **kwargs)
    path = tmp_path / "b"
    whole = extent(path, content)
    assert whole.present == whole.declared and 0 <= whole.declared - 32_000 <= 8
    half = extent(path, content[:-16_000])
    assert (half.declared, half.present) == (whole.declared, whole.present - 16_000)
    assert reading.read(tmp_path / name).shape == (16_000,)


def sized(content, riff, data):
    """A WAV file with other sizes in its header."""
    content = bytearray(content)
    struct.pack_into("<I", content, 4, riff)
    struct.pack_into("<I", content, content.find(b"data") + 4, data)
    return bytes(content)


@pytest.mark.parametrize(
    "riff, data",
    [(0, 0), (36, 0), (2**32 - 1, 2**32 - 1), (0x7FFFF024, 0x7FFFF000), (2**31, 2**31 - 1)],
)
def test_a_stream_is_read_to_its_end(tmp_path, riff, data):
    whole = made(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(sized(whole, riff, data))
    expected = reading.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(reading.read(tmp_path / "b.wav"), expected)
    np.testing.assert_array_equal(
        reading.read(tmp_path / "b.wav", 0.25, 0.5), expected[4_000:12_000]
    )


@pytest.mark.parametrize("count", [0, 2**36 - 1])
def test_a_flac_stream_is_read_to_its_end(tmp_path, count):
    content = bytearray(made(tmp_path / "a.flac"))
    content[21] = content[21] & 0xF0 | count >> 32
    content[22:26] = (count & 0xFFFFFFFF).to_bytes(4, "big")
    (tmp_path / "b.flac").write_bytes(content)
    whole = reading.read(tmp_path / "a.flac")
    np.testing.assert_array_equal(reading.read(tmp_path / "b.flac"), whole)
    np.testing.assert_array_equal(reading.read(tmp_path / "b.flac", 0.25, 0.5), whole[4_000:12_000])
    with pytest.raises(reading.AudioError, match="too long: 1.00 s, the limit is 0.5 s"):
        reading.read(tmp_path / "b.flac", max_seconds=0.5)
    with pytest.raises(reading.AudioError, match="beyond the file: it lasts 1.00 s, the end is 9"):
        reading.read(tmp_path / "b.flac", duration=9.0)
    with pytest.raises(reading.AudioError, match="beyond the file: it lasts 1.00 s, the start is"):
        reading.read(tmp_path / "b.flac", start=9.0)


def test_a_header_without_samples_is_empty_and_not_a_stream(tmp_path):
    path, content = tmp_path / "a.wav", made(tmp_path / "a.wav", np.zeros(0))
    assert extent(path, content) == Extent(0, 0)
    assert extent(path, content + b"LIST\x04\0\0\0INFO") == Extent(0, 0)
    assert extent(path, content + bytes(800)) == Extent(800, 800, unsized=44)


def test_samples_that_the_header_forgets_are_not_dropped_in_silence(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(sized(made(path), 36 + 16_000, 16_000))
    with pytest.raises(reading.AudioError) as raised:
        reading.read(path)
    assert raised.value.reason == "header: it tells of 0.50 s, and 1.00 s are there"


def test_chunks_around_the_samples_are_fine(tmp_path):
    path, content = tmp_path / "a.wav", made(tmp_path / "a.wav")
    before = content[:36] + b"JUNK\x05\0\0\0hello\0" + content[36:]
    behind = b"LIST\x04\0\0\0INFO" + b"id3 \x03\0\0\0abc\0"
    assert extent(path, before + behind) == Extent(32_000, 32_000)
    assert len(reading.read(path)) == 16_000


@pytest.mark.parametrize(
    "container, coding",
    [
        *[(name, "PCM_16") for name in ("WAV", "WAVEX", "RF64", "AIFF", "AU", "NIST", "FLAC")],
        ("WAV", "GSM610"),
        ("WAV", "IMA_ADPCM"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_wherever_a_file_breaks_off_it_is_not_read_as_a_whole(tmp_path, container, coding):
    path = tmp_path / "a"
    whole = made(path, format=container, subtype=coding)
    for size in [*range(1, 140), *range(140, len(whole) - 1_000, len(whole) // 30)]:
        path.write_bytes(whole[:size])
        with pytest.raises(reading.AudioError) as raised:
            reading.read(path)
        assert re.match("[a-z ]+: ", raised.value.reason)


@pytest.mark.parametrize("missing", [1, 3, 40])
def test_formats_made_of_blocks_may_miss_no_byte(tmp_path, missing):
    path = tmp_path / "a.wav"
    path.write_bytes(made(path, subtype="MS_ADPCM")[:-missing])
    with pytest.raises(reading.AudioError, match="breaks off: after"):
        reading.read(path)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_ogg_pages_are_checked(tmp_path, name):
    audio = np.random.default_rng(1).uniform(-0.5, 0.5, 80_000)
    content, path = made(tmp_path / name, audio), tmp_path / "b"
    pages = [i for i in range(len(content)) if content.startswith(b"OggS", i)]
    assert len(pages) > 3
    assert extent(path, content) is None
    assert extent(path, content + b"behind the last page") is None
    for page in pages[1:]:
        assert broken(path, content[:page]) == "breaks off: its last Ogg page is missing"
        for cut in (2, 10, 26, 28):
            told = broken(path, content[: page + cut])
            assert told.startswith(("breaks off: ", "damaged: an Ogg page should begin"))
    for position in range(0, len(content), 997):
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        if position:
            assert broken(path, bytes(flipped)).startswith(("damaged: ", "breaks off: "))
    lost = content[: pages[2]] + b"Lost" + content[pages[2] + 4 :]
    assert broken(path, lost) == f"damaged: an Ogg page should begin at byte {pages[2]}"
    assert broken(path, content + content).startswith("several: 2 Ogg streams in one file")


def frames(content):
    """Where the frames of an MP3 file begin; the first one, Xing's, is no sound."""
    found, position = [], 0
    while position < len(content):
        found.append(position)
        position += containers._frame(content[position : position + 4])[0]
    return found


def test_mp3_frames_without_a_count_are_checked(tmp_path):
    content, path = made(tmp_path / "a.mp3"), tmp_path / "b.mp3"
    starts = frames(content)
    assert len(starts) > 20 and b"Xing" in content[:64]
    assert extent(path, content) is None
    assert broken(path, content[starts[1] :]).startswith("no length: its MP3 frames vary in size")
    steady = made(tmp_path / "c.mp3", bitrate_mode="CONSTANT", compression_level=0.9)
    assert b"Info" not in steady[:64]
    assert extent(path, steady) is None
    assert 16_000 <= len(reading.read(path)) < 18_000  # the encoder's delay is not known
    assert extent(path, b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + steady + b"TAG" + bytes(125)) is None
    assert broken(path, steady[:-5]) == "breaks off: its last MP3 frame is not whole"
    hole = steady[:1_000] + bytes(7) + steady[1_000:]
    assert broken(path, hole).startswith("damaged: an MP3 frame should begin at byte ")


def test_hours_of_mp3_frames_are_checked_in_one_pass():
    """Copying what is left at every frame would take minutes."""
    frame = bytes.fromhex("fff314c4").ljust(24, b"\0")  # 8 kbit/s at 24 kHz
    content = frame * 300_000
    containers._check_frames(content)
    with pytest.raises(Broken, match="its last MP3 frame is not whole"):
        containers._check_frames(content[:-1])


def test_mp3_headers_are_measured_as_the_standard_says():
    assert containers._frame(bytes.fromhex("fffb9064")) == (417, 128)  # MPEG 1, 44.1 kHz
    assert containers._frame(bytes.fromhex("fffb9264")) == (418, 128)  # padded
    assert containers._frame(bytes.fromhex("fff388c4")) == (288, 64)  # MPEG 2, 16 kHz
    for other in ("00000000", "fffff064", "fffb0064", "fffb9c64", "fff19064"):
        assert containers._frame(bytes.fromhex(other)) == (0, 0)


def test_a_long_file_is_checked_once_until_it_changes(tmp_path, monkeypatch):
    path, content = tmp_path / "a.ogg", made(tmp_path / "a.ogg")
    assert extent(path, content) is None
    with monkeypatch.context() as patch:
        patch.setattr(containers, "_check_pages", None)
        with open(path, "rb") as file:
            assert containers.extent(file.fileno(), os.stat(path)) is None
    assert broken(path, content[:-9]).startswith("breaks off")
