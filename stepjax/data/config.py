"""The section `data` of a config: which corpus there is, and what is made of it."""

import dataclasses

from stepjax.data.examples import TASKS
from stepjax.data.sources import KINDS
from stepjax.fields import Section, limits, names, one_of, real, section, text, weights, whole
from stepjax.recipe import BLOCK_SECONDS

OF_FSDD = ("heldout_below", "max_digits", "gap_seconds", "augment")  # what only kind "fsdd" reads


@dataclasses.dataclass(frozen=True)
class AugmentConfig(Section, place="data.augment"):
    """How far a training recording may be changed; see `stepjax.data.augment`."""

    speed: float = real(0.0, 0.5)
    snr_db: tuple[float, float] | tuple[()] = limits(float, -100.0, 200.0, empty=True)
    gain_db: float = real(0.0, 60.0)


@dataclasses.dataclass(frozen=True)
class DataConfig(Section, place="data"):
    """Whatever a source reads, and the sizes of batches. A source says what else it demands."""

    kind: str = one_of(KINDS)
    manifest: str = text()
    heldout_share: float = real(0.0, 1.0)
    fsdd: str = text()
    seed: int = whole(0, 2**32 - 1)
    cache: str = text()
    utterances: int = whole(1, 10**9)
    heldout: int = whole(1, 10**6)
    max_seconds: float = real(0.1, BLOCK_SECONDS)
    max_skipped: float = real(0.0, 1.0)
    max_tokens_per_second: float = real(1.0, 1e6)
    languages: tuple[str, ...] = names('("en", "de")')
    voices: tuple[str, ...] = names('("m1", "f2")')
    speed: tuple[int, int] = limits(int, 80, 450)
    pitch: tuple[int, int] = limits(int, 0, 99)
    text_size: int = whole(256, 2**20)
    audio_codes: int = whole(1, 2**16)
    vocabulary_multiple: int = whole(1, 2**16)
    tasks: dict[str, float] = weights(TASKS)
    global_batch: int = whole(1, 10**6)
    microbatch: int = whole(1, 10**6)
    heldout_below: int | None = whole(0, 10**6, default=None)
    max_digits: int | None = whole(1, 1000, default=None)
    gap_seconds: tuple[float, float] | None = limits(float, 0.0, BLOCK_SECONDS, default=None)
    augment: AugmentConfig | None = section(AugmentConfig, default=None)

    def __post_init__(self):
        super().__post_init__()
        missing = [name for name in OF_FSDD if getattr(self, name) is None]
        if self.kind == "fsdd" and missing:
            raise ValueError(
                f"data.kind='fsdd' needs data.{', data.'.join(missing)}, which this config does "
                "not have; start from configs/digits.py."
            )
        if self.global_batch % self.microbatch:
            raise ValueError(
                f"data.global_batch={self.global_batch} cannot be divided into microbatches of "
                f"data.microbatch={self.microbatch} rows; make it a multiple of {self.microbatch}."
            )
