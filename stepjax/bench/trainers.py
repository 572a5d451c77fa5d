"""Trainers at step 0, with one global batch to train on again and again."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from parallel.elastic.inject import EmulatedCluster
from parallel.elastic.supervisor import Supervisor
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopLine
from parallel.spmd.mesh import Layout
from stepjax.train import corpus as corpora
from stepjax.train.loop import model_and_step
from stepjax.train.step import Step, trained_on
from stepjax.train.trainer import Measured, Trainer


class Prepared(NamedTuple):
    """What does not depend on the mesh."""

    arrays: dict[str, np.ndarray]  # of one global batch
    make_params: Callable[[], Any]
    step: Step


def prepared(config: ConfigDict, ring_size: int) -> Prepared:
    """The first batch of a training config's corpus, and the programs of its model."""
    splits = corpora.open_splits(config.data)
    recipe = corpora.fit(splits, config.data, config.seed, multiple=ring_size)
    corpus = corpora.make(splits, recipe, config.data, config.seed)
    arrays = trained_on(corpus.batches[0].arrays)
    return Prepared(arrays, *model_and_step(config, recipe.vocabulary.size))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trainer that knows only one batch."""

    trainer: Trainer
    arrays: dict[str, np.ndarray]

    def measured(self, n: int) -> Measured:
        """Step `n`, done to its end."""
        measured = self.trainer.train_on(n, self.arrays)
        jax.block_until_ready(self.trainer.state)
        return measured

    def seconds(self, n: int) -> float:
        """Of step `n`."""
        began = time.perf_counter()
        self.measured(n)
        return time.perf_counter() - began


@contextlib.contextmanager
def trainer_on(
    config: ConfigDict,
    made: Prepared,
    num_nodes: int,
    gpus_per_node: int,
    tensor: int,
    microbatch: int,
) -> Iterator[Trained]:
    """The product's trainer on an emulated line of nodes without faults."""
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in made.arrays.items()}
    with EmulatedCluster(num_nodes, gpus_per_node, FaultPlan()) as cluster:
        supervisor = Supervisor(cluster, KHopLine(num_nodes, 2), Layout(tensor), gpus_per_node)
        trainer = Trainer(made.step, supervisor, shapes, microbatch, config.objective)
        trainer.initialize(made.make_params)
        try:
            yield Trained(trainer, made.arrays)
        finally:
            trainer.close()
