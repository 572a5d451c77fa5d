"""What every speech codec does: audio <-> 25 codes a second.

T samples at 16 kHz   N codes, one for 640 samples   F mel frames at 100 Hz   M mel bins
"""

import abc
import pathlib

import numpy as np

from stepjax.audio import mel

FRAMES_PER_SECOND = 25
SAMPLES_PER_CODE = mel.SAMPLE_RATE // FRAMES_PER_SECOND  # 640
MEL_FRAMES_PER_CODE = mel.FRAMES_PER_SECOND // FRAMES_PER_SECOND  # 4


def code_length(num_samples: int) -> int:
    """Codes of `num_samples` samples; the last may stand for less than 40 ms.

    >>> [code_length(samples) for samples in (1, 640, 641, 16_000)]
    [1, 1, 2, 25]
    """
    return max(1, -(-num_samples // SAMPLES_PER_CODE))


class SpeechCodec(abc.ABC):
    """Immutable after it was fitted or loaded; safe to call from any thread."""

    @property
    @abc.abstractmethod
    def num_codes(self) -> int:
        """Size of the codebook: codes are 0 to `num_codes` - 1."""

    @abc.abstractmethod
    def encode(self, audio_T: np.ndarray) -> np.ndarray:
        """int32 codes [code_length(T)] of float32 samples: a pure function of them."""

    @abc.abstractmethod
    def decode(self, codes_N: np.ndarray) -> np.ndarray:
        """Log-mel frames [4 N, 128] that the codes stand for, scaled as in `stepjax.audio.mel`."""

    @abc.abstractmethod
    def save(self, path: str | pathlib.Path) -> None:
        """Writes all that `encode` and `decode` depend on, equal bytes for equal codecs."""
