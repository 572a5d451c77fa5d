"""Recordings as people have them: any rate, any number of channels, any bit depth, and broken
ones.
"""

import numpy as np
import pytest
import soundfile

from stepjax.audio import reading

FORMATS = [("wav", "PCM_U8"), ("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("wav", "DOUBLE"),
           ("wav", "ULAW"), ("flac", "PCM_16"), ("flac", "PCM_24")]  # fmt: skip


def tone(rate, seconds=0.5, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def write(path, audio, rate=16_000, **kwargs):
    soundfile.write(path, audio, rate, **kwargs)
    return path


def reason(path, *args, **kwargs):
    with pytest.raises(reading.AudioError) as raised:
        reading.read(path, *args, **kwargs)
    assert str(raised.value) == f"{path}: {raised.value.reason}"
    return raised.value.reason


@pytest.mark.parametrize("suffix, subtype", FORMATS)
def test_every_format_reads_alike(tmp_path, suffix, subtype):
    audio = reading.read(write(tmp_path / f"a.{suffix}", tone(16_000), subtype=subtype))
    assert audio.dtype == np.float32
    np.testing.assert_allclose(
        audio, tone(16_000), atol=0.02 if subtype in ("PCM_U8", "ULAW") else 1e-4
    )


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 12_345])
def test_every_rate_becomes_16_khz(tmp_path, rate):
    audio = reading.read(write(tmp_path / "a.wav", tone(rate), rate, subtype="FLOAT"))
    assert abs(len(audio) - 8_000) <= 1
    inner = slice(800, 7_200)  # the filter rings at both ends
    np.testing.assert_allclose(audio[inner], tone(16_000)[inner], atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_only_the_first_channel_counts(tmp_path, channels):
    audio = np.stack([tone(16_000, hertz=200 * (1 + k)) for k in range(channels)], axis=1)
    read = reading.read(write(tmp_path / "a.flac", audio, subtype="PCM_24"))
    np.testing.assert_allclose(read, audio[:, 0], atol=1e-6)


def test_a_part_of_a_recording_is_cut_out_before_resampling(tmp_path):
    audio = np.concatenate([tone(8_000, 0.25, hertz) for hertz in (300, 500, 700)])
    path = write(tmp_path / "a.wav", audio, 8_000, subtype="FLOAT")
    write(tmp_path / "middle.wav", audio[2_000:4_000], 8_000, subtype="FLOAT")
    np.testing.assert_array_equal(
        reading.read(path, 0.25, 0.25), reading.read(tmp_path / "middle.wav")
    )
    assert len(reading.read(path, 0.5)) == len(reading.read(path, 0.5, 99.0)) == 4_000


@pytest.mark.parametrize(
    "content", [b"", b"not a recording", b"RIFF\x24\x00\x00\x00WAVEfmt ", b"fLaC\x00"]
)
def test_what_is_no_recording_is_unreadable(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert reason(path).startswith("unreadable: ")


def test_a_missing_file_is_unreadable(tmp_path):
    assert reason(tmp_path / "nowhere.wav").startswith("unreadable: ")


def test_a_flac_file_that_breaks_off_is_unreadable(tmp_path):
    path = write(tmp_path / "a.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 16_000))
    path.write_bytes(path.read_bytes()[:15_000])
    assert reason(path).startswith("unreadable: ")


def test_a_recording_without_samples_is_empty(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(0))
    assert reason(path) == "empty: it holds no samples"
    assert reason(write(path, tone(16_000)), 9.0) == "empty: it holds no samples"


def test_silence_is_refused_and_a_whisper_is_not(tmp_path):
    assert reason(write(tmp_path / "a.wav", np.zeros(800))).startswith("silent: ")
    assert len(reading.read(write(tmp_path / "b.wav", 1e-3 * tone(16_000)))) == 8_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_sample_that_is_not_finite_is_enough(tmp_path, value):
    audio = tone(44_100)
    audio[77] = value
    path = write(tmp_path / "a.wav", audio, 44_100, subtype="FLOAT")
    assert reason(path) == "not finite: it holds NaN or infinite samples"


def test_too_long_is_known_before_the_samples_are_read(tmp_path):
    path = write(tmp_path / "a.wav", tone(8_000, 2.0), 8_000)
    assert reason(path, max_seconds=1.5) == "too long: 2.00 s, the limit is 1.5 s"
    assert len(reading.read(path, 0.5, max_seconds=1.5)) == 24_000
