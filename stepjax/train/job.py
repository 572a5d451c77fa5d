"""What a run of a config computes: its programs, its state, its step and its score."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from parallel.elastic.cluster import Lower
from stepjax.train.corpus import Corpus
from stepjax.train.heldout import Heldout
from stepjax.train.programs import Programs, State, model_and_programs
from stepjax.train.step import trained_on
from stepjax.train.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """A `parallel.elastic.Job`: speech-text training on the batches of a corpus."""

    make_state: Callable[[], State]  # of step 0; a pure function
    device: Programs
    trainer: Trainer
    heldout: Heldout

    @classmethod
    def of(cls, config: ConfigDict, corpus: Corpus) -> "TrainingJob":
        make_state, device = model_and_programs(config, corpus.recipe.vocabulary.size)
        shapes = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype)
            for name, x in trained_on(corpus.batches[0].arrays).items()
        }
        rows = config.data.microbatch
        give_up_after = config.optimizer.give_up_after
        trainer = Trainer(device, shapes, rows, config.objective, give_up_after)
        return cls(make_state, device, trainer, Heldout(corpus, device, rows))

    @property
    def programs(self) -> dict[str, Lower]:
        """See Job."""
        return self.trainer.to_run() | self.heldout.to_run()

    @property
    def shapes(self) -> State:
        """See Job."""
        return self.device.shapes

    def shardings(self, mesh: Mesh) -> Any:
        """See Job."""
        return self.device.shardings(mesh)
