"""Recordings as people have them: any rate, channels and bit depth, and broken ones."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stepjax.audio import reading

CASES = Path(__file__).parents[4] / "shared/cases/audio"
FORMATS = [
    ("wav", "PCM_U8"),
    ("wav", "PCM_16"),
    ("wav", "PCM_24"),
    ("wav", "FLOAT"),
    ("wav", "DOUBLE"),
    ("wav", "ULAW"),
    ("flac", "PCM_16"),
    ("flac", "PCM_24"),
    ("aiff", "PCM_16"),
    ("au", "PCM_16"),
]
LOSSY = [("mp3", "MPEG_LAYER_III"), ("ogg", "VORBIS"), ("opus", "OPUS"), ("wav", "GSM610")]


def tone(rate, seconds=0.5, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def write(path, audio, rate=16_000, **kwargs):
    kwargs |= {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, audio, rate, **kwargs)
    return path


def reason(path, *args, **kwargs):
    with pytest.raises(reading.AudioError) as raised:
        reading.load(path, *args, **kwargs)
    assert str(raised.value) == f"{path}: {raised.value.reason}"
    return raised.value.reason


@pytest.mark.parametrize("suffix, subtype", FORMATS)
def test_every_format_reads_alike(tmp_path, suffix, subtype):
    recording = reading.load(write(tmp_path / f"a.{suffix}", tone(16_000), subtype=subtype))
    assert recording.audio.dtype == np.float32
    assert (recording.mixed, recording.libraries) == (False, ())
    np.testing.assert_allclose(
        recording.audio, tone(16_000), atol=0.02 if subtype in ("PCM_U8", "ULAW") else 1e-4
    )


@pytest.mark.parametrize("suffix, subtype", LOSSY)
def test_lossy_formats_keep_the_tone(tmp_path, suffix, subtype):
    rate = 8_000 if subtype == "GSM610" else 24_000
    path = write(tmp_path / f"a.{suffix}", tone(rate), rate, subtype=subtype)
    recording = reading.load(path)
    assert 8_000 <= len(recording.audio) < 9_000  # GSM fills its last block
    spectrum = np.abs(np.fft.rfft(recording.audio[:8_000] * np.hanning(8_000)))
    assert abs(np.argmax(spectrum) * 2 - 440) <= 4
    inexact = ("libsndfile",) * (subtype != "GSM610")
    assert recording.libraries == (*inexact, "libsoxr")


@pytest.mark.parametrize("suffix, subtype", [*FORMATS, *LOSSY[:3]])
def test_a_mono_recording_is_to_the_bit_what_libsndfile_decodes(tmp_path, suffix, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    path = write(tmp_path / f"a.{suffix}", noise, subtype=subtype)
    with soundfile.SoundFile(path) as file:
        file.seek(0)  # decoders of MP3 round otherwise before their first seek
        np.testing.assert_array_equal(reading.read(path), file.read(dtype="float32"))


@pytest.mark.parametrize("suffix, subtype", [*LOSSY, ("flac", "PCM_16"), ("wav", "PCM_16")])
def test_a_part_of_any_format_is_the_same_as_in_the_whole(tmp_path, suffix, subtype):
    audio = np.concatenate([tone(16_000, 0.5, hertz) for hertz in (300, 600, 900)])
    path = write(tmp_path / f"a.{suffix}", audio, subtype=subtype)
    whole, part = reading.read(path), reading.read(path, 0.5, 0.5)
    assert len(part) == 8_000
    loose = {"OPUS": 0.1, "MPEG_LAYER_III": 0.01}.get(subtype, 1e-6)  # they start anew in between
    np.testing.assert_allclose(part[800:], whole[8_800:16_000], atol=loose)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 12_345])
def test_every_rate_becomes_16_khz(tmp_path, rate):
    recording = reading.load(write(tmp_path / "a.wav", tone(rate), rate, subtype="FLOAT"))
    assert abs(len(recording.audio) - 8_000) <= 1
    assert recording.libraries == (() if rate == 16_000 else ("libsoxr",))
    inner = slice(800, 7_200)  # the filter rings at both ends
    np.testing.assert_allclose(recording.audio[inner], tone(16_000)[inner], atol=2e-3)


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2**31 - 1])
def test_impossible_rates_are_refused(tmp_path, rate):
    path = write(tmp_path / "a.wav", tone(16_000))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 24, rate)
    path.write_bytes(content)
    assert reason(path) == f"no speech: its header says {rate} samples a second"


def channels(tmp_path, *parts):
    return write(tmp_path / "a.flac", np.stack(parts, axis=1), subtype="PCM_24")


def test_the_channels_that_are_not_silent_are_mixed(tmp_path):
    one, two, nothing = tone(16_000), tone(16_000, hertz=700), np.zeros(8_000)
    for parts, expected, mixed in [
        ((one,), one, False),
        ((one, nothing), one, False),
        ((nothing, one), one, False),
        ((one, two), (one + two) / 2, True),
        ((nothing, one, two, 1e-5 * one), (one + two) / 2, True),
        ((one, one), one, True),
    ]:
        recording = reading.load(channels(tmp_path, *parts))
        assert recording.mixed == mixed
        np.testing.assert_allclose(recording.audio, expected, atol=1e-6)


def test_a_channel_can_be_chosen(tmp_path):
    one, two = tone(16_000), tone(16_000, hertz=700)
    path = channels(tmp_path, one, two, np.zeros(8_000))
    for channel, expected in [(0, one), (1, two)]:
        recording = reading.load(path, channel=channel)
        assert not recording.mixed
        np.testing.assert_allclose(recording.audio, expected, atol=1e-6)
    assert reason(path, channel=2).startswith("silent: ")
    assert reason(path, channel=3) == "no channel 3: it has 3, counted from 0"


def test_channels_that_cancel_each_other_are_not_called_silent(tmp_path):
    path = channels(tmp_path, tone(16_000), -tone(16_000))
    assert reason(path) == (
        "silent: its channels cancel each other; choose one with the field channel"
    )
    assert len(reading.read(path, channel=1)) == 8_000


def test_what_is_wrong_with_another_channel_does_not_matter(tmp_path):
    audio = np.stack([tone(16_000), np.full(8_000, np.nan)], axis=1)
    path = write(tmp_path / "a.wav", audio, subtype="FLOAT")
    assert reason(path).startswith("not finite: ")
    np.testing.assert_allclose(reading.read(path, channel=0), tone(16_000), atol=1e-6)


def test_a_part_of_a_recording_is_cut_out_before_resampling(tmp_path):
    audio = np.concatenate([tone(8_000, 0.25, hertz) for hertz in (300, 500, 700)])
    path = write(tmp_path / "a.wav", audio, 8_000, subtype="FLOAT")
    write(tmp_path / "middle.wav", audio[2_000:4_000], 8_000, subtype="FLOAT")
    np.testing.assert_array_equal(
        reading.read(path, 0.25, 0.25), reading.read(tmp_path / "middle.wav")
    )
    assert len(reading.read(path, 0.5)) == len(reading.read(path, 0.5, 0.26)) == 4_000


def test_a_part_must_lie_in_the_file(tmp_path):
    path = write(tmp_path / "a.wav", tone(16_000))
    assert len(reading.read(path, duration=0.52)) == 8_000  # rounded durations are fine
    assert reason(path, duration=2.4) == "beyond the file: it lasts 0.50 s, the end is 2.40 s"
    assert reason(path, 0.2, 0.4) == "beyond the file: it lasts 0.50 s, the end is 0.60 s"
    assert reason(path, 5.0) == "beyond the file: it lasts 0.50 s, the start is 5.00 s"
    assert reason(path, 0.5) == "beyond the file: it lasts 0.50 s, the start is 0.50 s"
    assert reason(path, 1e8, 1e8).startswith("beyond the file: ")


@pytest.mark.parametrize("content", [b"not a recording", b"fLaC", b"\0" * 5_000, b"hello" * 500])
@pytest.mark.parametrize("suffix", ["wav", "raw", "gsm", "vox", "au", "mp3", "sd2", ""])
def test_what_has_no_header_is_never_guessed_from_its_name(tmp_path, suffix, content):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    broken = "breaks off: its header is not whole"
    assert reason(path).startswith(broken if content == b"fLaC" else "no header: it begins like no")


@pytest.mark.parametrize("content, told", [
    (b"\0\0\0\x20ftypM4A \0\0\0\0", "format MP4: it is not read; convert it to WAV or FLAC"),
    (b"\0\0\0\nftypisom\0\0\0\0", "format MP4: it is not read; convert it to WAV or FLAC"),
    (b"\x1aE\xdf\xa3\x9f", "format WebM: it is not read; convert it to WAV or FLAC"),
    (b"0&\xb2u\x8ef\xcf\x11\xa6", "format WMA: it is not read; convert it to WAV or FLAC"),
    (b"#!AMR-WB\n", "format AMR: it is not read; convert it to WAV or FLAC"),
    (b"\xff\xf1\x50\x80\x02\x1f\xfc", "format AAC: it is not read; convert it to WAV or FLAC"),
    (b"\n<!DOCTYPE html><html>gone", "no recording: it is a web page"),
    (b"<HTML>gone", "no recording: it is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
     "no recording: it is Git LFS's note of one that was not fetched"),
])  # fmt: skip
def test_what_is_often_given_as_a_recording_is_called_what_it_is(tmp_path, content, told):
    (tmp_path / "a.wav").write_bytes(content + bytes(500))
    assert reason(tmp_path / "a.wav") == told


def test_samples_alone_have_no_header(tmp_path):
    path = tmp_path / "name.raw"
    path.write_bytes((2**15 * tone(16_000)).astype("<i2").tobytes())
    assert reason(path) == "no header: it begins like none of the formats that are read; convert it"


def test_a_format_of_which_nobody_knows_if_it_is_whole_is_not_read(tmp_path):
    path = write(tmp_path / "a.caf", tone(16_000))
    assert reason(path) == "format CAF: it is not read; convert it to WAV or FLAC"


def test_what_is_no_file_is_unreadable(tmp_path):
    assert reason(tmp_path / "nowhere.wav") == "unreadable: No such file or directory"
    assert reason(tmp_path) == "unreadable: it is no file"
    assert reason(tmp_path / ("a" * 300)) == "unreadable: File name too long"
    os.mkfifo(tmp_path / "pipe.wav")
    assert reason(tmp_path / "pipe.wav") == "unreadable: it is no file"


def test_a_file_that_breaks_off_is_told_so(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    for name, told in [
        ("a.wav", "breaks off: after 0.50 of 1.00 s"),
        ("a.aiff", "breaks off: after 0.50 of 1.00 s"),
        ("a.au", "breaks off: after 0.50 of 1.00 s"),
        ("a.flac", "damaged: libsndfile says 'flac decoder lost sync'"),
        ("a.ogg", "breaks off: its last Ogg page, at byte "),
        ("a.opus", "breaks off: its last Ogg page, at byte "),
        ("a.mp3", "damaged: of 1.00 s only 0."),
    ]:
        path = write(tmp_path / name, noise)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2 + 20])
        assert reason(path).startswith(told), name


def test_a_few_milliseconds_may_be_missing(tmp_path):
    path = write(tmp_path / "a.wav", tone(16_000))
    path.write_bytes(path.read_bytes()[:-36])
    assert len(reading.read(path)) == 8_000 - 18


def test_a_recording_without_samples_is_empty(tmp_path):
    (tmp_path / "nothing.wav").write_bytes(b"")
    assert reason(tmp_path / "nothing.wav") == "empty: the file has no bytes"
    assert reason(write(tmp_path / "a.wav", np.zeros(0))) == "empty: it holds no samples"


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_less_than_a_frame_is_too_short(tmp_path, rate):
    path = write(tmp_path / "a.wav", tone(rate)[1:2], rate)
    assert reason(path) == f"too short: {1000 / rate:.2g} ms, the least is 25 ms"
    frame = write(tmp_path / "b.wav", tone(rate)[: rate // 40], rate)
    assert len(reading.read(frame)) == 400


def test_silence_is_refused_and_a_whisper_is_not(tmp_path):
    assert reason(write(tmp_path / "a.wav", np.zeros(800))).startswith("silent: ")
    assert len(reading.read(write(tmp_path / "b.wav", 1e-3 * tone(16_000)))) == 8_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_one_sample_that_is_not_finite_is_enough(tmp_path, value):
    audio = tone(44_100)
    audio[77] = value
    path = write(tmp_path / "a.wav", audio, 44_100, subtype="DOUBLE")
    assert reason(path) == "not finite: it holds NaN or infinite samples"


def test_integers_written_as_floats_are_fine_and_no_scale_is_not(tmp_path):
    integers = write(tmp_path / "a.wav", np.rint(2**15 * tone(16_000)), subtype="FLOAT")
    assert np.abs(reading.read(integers)).max() > 16_000
    path = write(tmp_path / "b.wav", 2e30 * tone(16_000), subtype="FLOAT")
    assert reason(path) == "no scale: a sample is 1e+30 times full scale"


def test_too_long_is_known_before_the_samples_are_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(8_000, 2.0), 8_000)
    assert len(reading.read(path, 0.5, max_seconds=1.5)) == 24_000
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    assert reason(path, max_seconds=1.5) == "too long: 2.00 s, the limit is 1.5 s"


def test_resampling_makes_nothing_longer_than_allowed(tmp_path):
    for rate in (7_999, 11_025, 22_050, 44_100, 48_000):
        for extra in range(3):
            samples = round(0.3 * rate) + extra
            path = write(tmp_path / "a.wav", tone(rate, 1.0)[:samples], rate)
            try:
                assert len(reading.read(path, max_seconds=0.3)) <= 4_800
            except reading.AudioError as error:
                assert error.reason.startswith("too long: ")


@pytest.mark.skipif(not CASES.exists(), reason="shared/cases is absent")
def test_inputs_that_went_wrong_elsewhere():
    for name, told in [
        ("half.wav", "breaks off: after 0.15 of 0.30 s"),
        ("half.ogg", "breaks off: its last Ogg page, at byte 3446, is not whole"),
        ("name.raw", "no header: it begins like none of the formats that are read; convert it"),
        ("one_sample_48k.wav", "too short: 0.021 ms, the least is 25 ms"),
    ]:
        assert reason(CASES / name) == told
    for name, samples, mixed in [
        ("stream_ffffffff.wav", 4_800, False),
        ("gsm.wav", 5_120, False),
        ("stereo_right_only.wav", 4_800, False),
        ("stereo_left_hiss.wav", 4_800, True),
    ]:
        recording = reading.load(CASES / name)
        assert (len(recording.audio), recording.mixed) == (samples, mixed)
    right = reading.read(CASES / "stereo_left_hiss.wav", channel=1)
    np.testing.assert_array_equal(right, reading.read(CASES / "stereo_right_only.wav"))
