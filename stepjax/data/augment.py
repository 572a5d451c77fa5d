"""Light changes that leave the words as they are: faster or slower, noisier, louder or softer."""

import dataclasses

import numpy as np
import soxr


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far a recording may be changed; the default changes nothing."""

    speed: float = 0.0  # faster or slower by up to this share; the pitch goes with it
    snr_db: tuple[float, ...] = ()  # (least, most) of the voice over white noise; () adds none
    gain_db: float = 0.0  # louder or softer by up to this

    def __post_init__(self):
        if not 0 <= self.speed <= 0.5:
            raise ValueError(f"speed={self.speed:g} is not a share from 0 to 0.5, such as 0.1.")
        if len(self.snr_db) not in (0, 2) or list(self.snr_db) != sorted(self.snr_db):
            raise ValueError(
                f"snr_db={self.snr_db} is not () or (least, most), such as (10.0, 40.0)."
            )
        if self.gain_db < 0:
            raise ValueError(
                f"gain_db={self.gain_db:g} is below 0: it says how far up and down to go."
            )

    def __call__(self, audio_T: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """At most 1 / (1 - speed) times as long as before."""
        if self.speed:
            audio_T = soxr.resample(audio_T, 1 + draw.uniform(-self.speed, self.speed), 1.0)
        if self.snr_db:
            loudness = np.sqrt(np.mean(np.square(audio_T)))
            noise_T = draw.standard_normal(len(audio_T), dtype=np.float32)
            audio_T = audio_T + noise_T * np.float32(
                loudness * 10 ** (-draw.uniform(*self.snr_db) / 20)
            )
        if self.gain_db:
            audio_T = audio_T * np.float32(10 ** (draw.uniform(-self.gain_db, self.gain_db) / 20))
        return audio_T
