"""A codec without training: the nearest of K typical log-mel frames, 25 times a second.

   T samples   F log-mel frames at 100 Hz   N groups of 4 of them   K codes   M mel bins

It keeps the coarse colour of speech (which phone, roughly how loud) and loses pitch and fine time.
It stands in for codecs that are learned, behind the same interface.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from stepjax.audio import mel
from stepjax.audio.reading import LOUDEST
from stepjax.codec.codec import MEL_FRAMES_PER_CODE, SpeechCodec, code_length

MAX_CLIPS = 600  # enough for a codebook of hundreds, and about two seconds of work
MAX_ITERATIONS = 30
SILENT_T = np.zeros(1, np.float32)
ROWS_AT_ONCE = 4096  # bounds the memory of distances


class KMeansCodec(SpeechCodec):
    """Codes are rows of `centroids_KM`."""

    def __init__(self, centroids_KM: np.ndarray):
        self.centroids_KM = np.asarray(centroids_KM, np.float32)

    @property
    def num_codes(self) -> int:
        return len(self.centroids_KM)

    def encode(self, audio_T: np.ndarray) -> np.ndarray:
        return nearest(pooled_mel(audio_T), self.centroids_KM)[0]

    def decode(self, codes_N: np.ndarray) -> np.ndarray:
        """Each code's centroid, four times: a staircase, not a voice."""
        return np.repeat(self.centroids_KM[np.asarray(codes_N, int)], MEL_FRAMES_PER_CODE, axis=0)

    def save(self, path: str | pathlib.Path) -> None:
        np.savez(path, centroids=self.centroids_KM)


def load(path: str | pathlib.Path) -> KMeansCodec:
    with np.load(path) as stored:
        return KMeansCodec(stored["centroids"])


def fit(clips: Sequence[np.ndarray], num_codes: int, seed: int) -> KMeansCodec:
    """The codebook of a corpus: k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's steps.

    Args:  clips: float32 samples at 16 kHz of each; of more than MAX_CLIPS, the seed picks some.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(clips))[:MAX_CLIPS])
    frames_NM = np.concatenate(
        [pooled_mel(clips[i]) for i in chosen] or [np.zeros((0, mel.NUM_MELS))]
    )
    different = len(np.unique(frames_NM, axis=0))
    if different < num_codes:
        raise ValueError(
            f"a codebook of {num_codes} codes was wanted; the corpus has {len(clips)} clips with "
            f"{different} different frames of 40 ms; ask for fewer codes or give more speech."
        )
    return KMeansCodec(lloyd(frames_NM, plus_plus(frames_NM, num_codes, rng)))


def pooled_mel(audio_T: np.ndarray) -> np.ndarray:
    """Log-mel frames averaged over each code's four, [N, 128]; a short last group repeats its end.

    They are finite whatever the samples are: none at all and NaN count as silence, and what is
    beyond LOUDEST as that, since the square of a spectrum would overflow.
    """
    audio_T = np.clip(np.nan_to_num(audio_T), -LOUDEST, LOUDEST) if len(audio_T) else SILENT_T
    mel_FM = mel.log_mel(audio_T[None], np.array([len(audio_T)]))[0]
    wanted_F = np.arange(code_length(len(audio_T)) * MEL_FRAMES_PER_CODE)
    mel_FM = mel_FM[np.minimum(wanted_F, len(mel_FM) - 1)]
    return mel_FM.reshape(-1, MEL_FRAMES_PER_CODE, mel.NUM_MELS).mean(axis=1)


def nearest(frames_NM: np.ndarray, centroids_KM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest centroid, int32 [N], and the squared distance to it, [N]."""
    codes, distances = [], []
    norms_K = np.einsum("KM,KM->K", centroids_KM, centroids_KM)
    for start in range(0, len(frames_NM), ROWS_AT_ONCE):
        rows_NM = frames_NM[start : start + ROWS_AT_ONCE]
        # less the row's own norm, which is equal for all K
        score_NK = norms_K[None] - 2 * (rows_NM @ centroids_KM.T)
        codes.append(score_NK.argmin(axis=1).astype(np.int32))
        distances.append(score_NK.min(axis=1) + np.einsum("NM,NM->N", rows_NM, rows_NM))
    return np.concatenate(codes), np.maximum(np.concatenate(distances), 0)


def plus_plus(frames_NM: np.ndarray, num_codes: int, rng: np.random.Generator) -> np.ndarray:
    """First centroids, spread out: a frame is drawn in proportion to its squared distance."""
    chosen = [int(rng.integers(len(frames_NM)))]
    distance_N = ((frames_NM - frames_NM[chosen[0]]) ** 2).sum(axis=1, dtype=np.float64)
    while len(chosen) < num_codes:
        mass_N = np.cumsum(distance_N)
        chosen.append(int(np.searchsorted(mass_N, rng.random() * mass_N[-1], side="right")))
        distance_N = np.minimum(distance_N, ((frames_NM - frames_NM[chosen[-1]]) ** 2).sum(axis=1))
    return frames_NM[chosen]


def lloyd(frames_NM: np.ndarray, centroids_KM: np.ndarray) -> np.ndarray:
    """Moves centroids to the means of their frames until none changes, or MAX_ITERATIONS times."""
    before = None
    for _ in range(MAX_ITERATIONS):
        codes_N, distance_N = nearest(frames_NM, centroids_KM)
        if before is not None and np.array_equal(codes_N, before):
            break
        centroids_KM, before = means(frames_NM, codes_N, distance_N, len(centroids_KM)), codes_N
    return centroids_KM


def means(
    frames_NM: np.ndarray, codes_N: np.ndarray, distance_N: np.ndarray, num_codes: int
) -> np.ndarray:
    """Mean frame of each code; a code without frames moves to one of those farthest from theirs."""
    order_N = np.argsort(codes_N, kind="stable")
    count_K = np.bincount(codes_N, minlength=num_codes)
    used_K = count_K > 0
    starts = (np.cumsum(count_K) - count_K)[used_K]
    means_KM = np.empty((num_codes, frames_NM.shape[1]), np.float32)
    means_KM[used_K] = np.add.reduceat(frames_NM[order_N], starts, axis=0) / count_K[used_K, None]
    worst = np.argsort(-distance_N, kind="stable")[: num_codes - used_K.sum()]
    means_KM[~used_K] = frames_NM[worst]
    return means_KM
