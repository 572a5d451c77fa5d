"""The mel front end against a twin that sums the Fourier series frame by frame in float64."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import soxr

from stepjax.audio import mel

SPEECH = Path(__file__).parents[4] / "shared/data/speech"
needs_speech = pytest.mark.skipif(not SPEECH.exists(), reason="shared/data/speech is absent")

# Samples and frames, from the public code of the model that this front end feeds.
GOLDEN_FRAMES = {
    400: 5,
    800: 7,
    1600: 12,
    4000: 27,
    8000: 52,
    12000: 77,
    16000: 102,
    24000: 152,
    32000: 202,
    48000: 302,
    80000: 502,
    160000: 1002,
    400000: 2502,
    479680: 3000,
    480000: 3002,
}


def log_mel_ref(audio_T):
    """One row, step by step: 479 zeros, mirrored ends, centred frames, the last one dropped."""
    padded = np.pad(np.pad(audio_T.astype(np.float64), (0, 479)), 200, mode="reflect")
    fourier_WK = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(201)) / 400)
    hann_W = np.hanning(401)[:-1]
    starts = range(0, len(padded) - 400 + 1, 160)
    power_FK = np.stack([np.abs((padded[s : s + 400] * hann_W) @ fourier_WK) ** 2 for s in starts])[
        :-1
    ]
    log_FM = np.log10(np.maximum(power_FK @ mel.mel_filters().T.astype(np.float64), 1e-10))
    return (np.maximum(log_FM, log_FM.max() - 8) + 4) / 4


def voice(num_samples, seed=0):
    """A buzz of falling harmonics with a little noise: as far from white as speech is."""
    t = np.arange(num_samples) / mel.SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * t + k) / k**2 for k in range(1, 30))
    noise = np.random.default_rng(seed).normal(scale=1e-3, size=num_samples)
    return (0.3 * buzz * np.abs(np.sin(3 * t + seed)) + noise).astype(np.float32)


def one_row(audio_T):
    length_B = audio_T.__array_namespace__().asarray([len(audio_T)])
    log_mel = mel.log_mel if isinstance(audio_T, np.ndarray) else jax.jit(mel.log_mel)
    return log_mel(audio_T[None], length_B)[0]


@pytest.mark.parametrize(
    "num_samples", [1, 159, 160, 161, 199, 200, 201, 202, 400, 4000, 16_001, 40_000]
)
def test_every_frame_is_the_sum_written_out(num_samples):
    audio_T = voice(num_samples)
    ours = one_row(audio_T)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, log_mel_ref(audio_T), atol=5e-4)


@pytest.mark.parametrize("num_samples, frames", GOLDEN_FRAMES.items())
def test_lengths_are_the_published_ones(num_samples, frames):
    assert mel.num_frames(num_samples) == frames
    if num_samples <= 48_000:
        assert one_row(voice(num_samples)).shape == (frames, 128)


def test_num_frames_takes_arrays():
    lengths = np.array(list(GOLDEN_FRAMES))
    assert list(mel.num_frames(lengths)) == list(GOLDEN_FRAMES.values())
    assert list(mel.num_frames(jnp.asarray(lengths))) == list(GOLDEN_FRAMES.values())


@needs_speech
@pytest.mark.parametrize("num_mels", [80, 128])
def test_the_filter_bank_is_whispers(num_mels):
    whispers = np.load(SPEECH / "whisper_mel_filters.npz")[f"mel_{num_mels}"]
    ours = mel.mel_filters(num_mels)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, whispers, atol=1e-6, rtol=0)


@needs_speech
def test_real_speech_comes_out_alike_in_numpy_in_jax_and_written_out():
    audio, rate = soundfile.read(SPEECH / "jfk.flac", dtype="float32", always_2d=True)
    audio_T = soxr.resample(audio[:, 0], rate, mel.SAMPLE_RATE)
    with_numpy = one_row(audio_T)
    with_jax = one_row(jnp.asarray(audio_T))
    expected = log_mel_ref(audio_T)
    assert expected.shape == (1102, 128)
    assert expected.max() - expected.min() == pytest.approx(2.0)  # speech fills all of the 80 dB
    np.testing.assert_allclose(with_numpy, expected, atol=1e-3)
    np.testing.assert_allclose(with_jax, expected, atol=1e-3)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_a_padded_row_comes_out_as_it_would_alone(xp):
    lengths = [1, 201, 9_000, 16_000]
    audio_BT = np.zeros((len(lengths), 16_000), np.float32)
    for row, length in enumerate(lengths):
        audio_BT[row, :length] = voice(length, seed=row)
    together = mel.log_mel(xp.asarray(audio_BT), xp.asarray(lengths))
    for row, length in enumerate(lengths):
        alone = one_row(xp.asarray(audio_BT[row, :length]))
        np.testing.assert_allclose(together[row, : len(alone)], alone, atol=1e-6)
        assert not together[row, len(alone) :].any()


def test_a_row_without_sound_or_frames_stays_finite():
    silence_BT = np.zeros((2, 800), np.float32)
    rows = mel.normalise(mel.log_power(silence_BT, 0, 7), np.array([7, 0]))
    np.testing.assert_allclose(rows[0], -1.5, rtol=1e-6)
    assert (rows[1] == 0).all()


def test_frames_beyond_a_row_neither_count_nor_show():
    power_BFM = np.full((1, 5, 128), -3.0, np.float32)
    power_BFM[:, 3:] = 9.0
    np.testing.assert_array_equal(
        mel.normalise(power_BFM, np.array([3]))[0, :, 0], [0.25, 0.25, 0.25, 0, 0]
    )


def test_parts_computed_on_their_own_are_the_whole_bit_for_bit():
    audio_BT = jnp.asarray(np.stack([voice(8_000, 1), voice(8_000, 2)]))
    log_power = jax.jit(mel.log_power, static_argnums=2)
    whole = log_power(audio_BT, 0, 52)
    parts = [log_power(audio_BT, first, 13) for first in range(0, 52, 13)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_frames_past_the_end_are_silent():
    audio_BT = voice(1_000)[None]
    power = mel.log_power(audio_BT, 0, 40)
    np.testing.assert_allclose(power[:, :9], mel.log_power(audio_BT, 0, 9), rtol=1e-5)
    np.testing.assert_allclose(power[:, 9:], -10, rtol=1e-6)
