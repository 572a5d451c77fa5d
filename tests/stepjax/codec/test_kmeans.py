import time

import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepjax.audio import mel
from stepjax.codec import kmeans
from stepjax.codec.codec import code_length


def chirps(count, seed=0):
    """Noisy tones that jump every tenth of a second: half a second to one second each."""
    rng = np.random.default_rng(seed)
    clips = []
    for samples in rng.integers(8000, 16000, size=count):
        hertz_T = np.repeat(rng.uniform(100, 3000, size=10), 1600)[:samples]
        tone_T = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz_T) / mel.SAMPLE_RATE)
        clips.append((tone_T + rng.normal(size=samples) * 0.01).astype(np.float32))
    return clips


CLIPS = chirps(20)
CODEC = kmeans.fit(CLIPS, num_codes=16, seed=0)


def nearest_ref(frames_NM, centroids_KM):
    frames_NM = frames_NM.astype(np.float64)
    return np.array([np.argmin([((x - c) ** 2).sum() for c in centroids_KM]) for x in frames_NM])


def distortion(codec, clips):
    frames_NM = np.concatenate([kmeans.pooled_mel(clip) for clip in clips])
    return kmeans.nearest(frames_NM, codec.centroids_KM)[1].mean()


@given(st.integers(1, 4000))
def test_every_length_of_speech_has_its_number_of_codes(samples):
    codes = CODEC.encode(CLIPS[0][:samples])
    assert codes.shape == (code_length(samples),) and codes.dtype == np.int32
    assert set(codes) <= set(range(16))


def test_the_nearest_centroid_is_the_nearest():
    frames_NM = kmeans.pooled_mel(CLIPS[0])
    codes_N, distance_N = kmeans.nearest(frames_NM, CODEC.centroids_KM)
    assert np.array_equal(codes_N, nearest_ref(frames_NM, CODEC.centroids_KM))
    true_N = ((frames_NM - CODEC.centroids_KM[codes_N]) ** 2).sum(axis=1)
    np.testing.assert_allclose(distance_N, true_N, rtol=1e-3, atol=1e-3)


def test_large_inputs_are_cut_into_blocks_without_a_trace(monkeypatch):
    frames_NM = np.concatenate([kmeans.pooled_mel(clip) for clip in CLIPS])
    whole = kmeans.nearest(frames_NM, CODEC.centroids_KM)
    monkeypatch.setattr(kmeans, "ROWS_AT_ONCE", 7)
    assert np.array_equal(kmeans.nearest(frames_NM, CODEC.centroids_KM)[0], whole[0])


def test_decoding_gives_frames_that_encode_to_the_same_codes():
    codes_N = CODEC.encode(CLIPS[1])
    mel_FM = CODEC.decode(codes_N)
    assert mel_FM.shape == (4 * len(codes_N), mel.NUM_MELS)
    again_N, distance_N = kmeans.nearest(
        mel_FM.reshape(-1, 4, 128).mean(axis=1), CODEC.centroids_KM
    )
    assert np.array_equal(again_N, codes_N) and distance_N.max() < 1e-3


def test_the_seed_alone_decides_the_codebook():
    same, other = kmeans.fit(CLIPS, 16, seed=0), kmeans.fit(CLIPS, 16, seed=1)
    assert np.array_equal(same.centroids_KM, CODEC.centroids_KM)
    assert not np.array_equal(other.centroids_KM, CODEC.centroids_KM)


def test_saving_and_loading_keeps_every_bit(tmp_path):
    CODEC.save(tmp_path / "codec.npz")
    assert np.array_equal(kmeans.load(tmp_path / "codec.npz").centroids_KM, CODEC.centroids_KM)


def test_more_codes_describe_speech_better():
    errors = [distortion(kmeans.fit(CLIPS, codes, seed=0), CLIPS) for codes in (1, 4, 16, 64)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 3


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 8))
def test_lloyd_never_makes_it_worse(seed, num_codes):
    rng = np.random.default_rng(seed)
    frames_NM = rng.normal(size=(60, 128)).astype(np.float32)
    start_KM = kmeans.plus_plus(frames_NM, num_codes, rng)
    end_KM = kmeans.lloyd(frames_NM, start_KM)
    assert (
        kmeans.nearest(frames_NM, end_KM)[1].sum()
        <= kmeans.nearest(frames_NM, start_KM)[1].sum() * 1.0001
    )


def test_a_code_that_nothing_chose_moves_to_the_frame_served_worst():
    frames_NM = np.zeros((4, 128), np.float32)
    frames_NM[:, 0] = [0, 1, 2, 9]
    start_KM = np.zeros((3, 128), np.float32)
    start_KM[:, 0] = [0, 2, 1000]
    codes_N, distance_N = kmeans.nearest(frames_NM, start_KM)
    moved_KM = kmeans.means(frames_NM, codes_N, distance_N, num_codes=3)
    assert moved_KM[2, 0] == 9
    assert sorted(kmeans.lloyd(frames_NM, start_KM)[:, 0]) == [0.5, 2, 9]


def test_first_centroids_are_different_frames():
    frames_NM = np.repeat(np.eye(5, 128, dtype=np.float32), 30, axis=0)
    for seed in range(20):
        start_KM = kmeans.plus_plus(frames_NM, 5, np.random.default_rng(seed))
        assert len(np.unique(start_KM, axis=0)) == 5


@pytest.mark.parametrize("clips", [[], [np.zeros(16000, np.float32)]])
def test_too_little_speech_is_refused_with_the_count(clips):
    with pytest.raises(
        ValueError, match=f"of 16 codes was wanted; the corpus has {len(clips)} clips with"
    ):
        kmeans.fit(clips, num_codes=16, seed=0)


def test_two_seconds_are_encoded_between_two_steps():
    two_seconds = np.concatenate(CLIPS)[: 2 * mel.SAMPLE_RATE]
    CODEC.encode(two_seconds)
    began = time.perf_counter()
    for _ in range(10):
        CODEC.encode(two_seconds)
    assert (time.perf_counter() - began) / 10 < 0.1  # 1 ms on a quiet core


@given(
    hypothesis.extra.numpy.arrays(
        np.float32, st.integers(0, 2000), elements=st.floats(width=32, allow_subnormal=True)
    )
)
def test_any_samples_have_finite_frames_and_codes(audio_T):
    frames_NM = kmeans.pooled_mel(audio_T)
    assert np.isfinite(frames_NM).all() and frames_NM.dtype == np.float32
    codes = CODEC.encode(audio_T)
    assert codes.shape == (code_length(len(audio_T)),) and set(codes) <= set(range(16))
    assert np.isfinite(CODEC.decode(codes)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30, 1e-45, 0.0])
def test_a_clip_of_nothing_but_nonsense_does_no_harm(value):
    nonsense = np.full(2000, value, np.float32)
    assert len(CODEC.encode(nonsense)) == code_length(len(nonsense))
    fitted = kmeans.fit([*CLIPS, nonsense], num_codes=4, seed=0)
    assert np.isfinite(fitted.centroids_KM).all()


def test_samples_that_are_fine_are_left_alone():
    audio_T = CLIPS[0]
    mel_FM = mel.log_mel(audio_T[None], np.array([len(audio_T)]))[0][: len(audio_T) // 640 * 4]
    expected = mel_FM.reshape(-1, 4, mel.NUM_MELS).mean(axis=1)
    assert np.array_equal(kmeans.pooled_mel(audio_T)[: len(expected)], expected)
