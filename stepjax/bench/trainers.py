"""Trainers at step 0, with one global batch to train on again and again."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from parallel.elastic.cluster import Lower
from parallel.elastic.emulated import EmulatedCluster
from parallel.elastic.formation import Rings
from parallel.elastic.runtime import Runtime
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopLine
from parallel.spmd.mesh import Layout
from stepjax.train import corpus as corpora
from stepjax.train.programs import GRADIENTS, UPDATE, Programs, State, model_and_programs
from stepjax.train.step import trained_on
from stepjax.train.trainer import Measured, Trainer


class Prepared(NamedTuple):
    """What does not depend on the mesh."""

    arrays: dict[str, np.ndarray]  # of one global batch
    make_state: Callable[[], State]
    programs: Programs


def prepared(config: ConfigDict, ring_size: int) -> Prepared:
    """The first batch of a training config's corpus, and the programs of its model."""
    splits = corpora.open_splits(config.data)
    recipe = corpora.fit(splits, config.data, config.seed, multiple=ring_size)
    corpus = corpora.make(splits, recipe, config.data, config.seed)
    arrays = trained_on(corpus.batches[0].arrays)
    return Prepared(arrays, *model_and_programs(config, recipe.vocabulary.size))


@dataclasses.dataclass(frozen=True)
class OneBatch:
    """A `parallel.elastic.Job` without data: steps of a trainer."""

    trainer: Trainer

    @property
    def programs(self) -> dict[str, Lower]:
        """See Job."""
        return self.trainer.to_run()

    @property
    def shapes(self) -> State:
        """See Job."""
        return self.trainer.programs.shapes

    def shardings(self, mesh: Mesh) -> Any:
        """See Job."""
        return self.trainer.programs.shardings(mesh)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trainer that knows only one batch."""

    trainer: Trainer
    runtime: Runtime
    arrays: dict[str, np.ndarray]

    def measured(self, n: int) -> Measured:
        """Step `n`, done to its end."""
        measured = self.trainer.step(n, self.arrays, self.runtime)
        jax.block_until_ready(self.runtime.state)
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
    trainer = Trainer(made.programs, shapes, microbatch, config.objective, give_up_after=1)
    rings = Rings(KHopLine(num_nodes, 2), Layout(tensor), gpus_per_node)
    with EmulatedCluster(rings, FaultPlan()) as cluster:
        runtime = Runtime(cluster, rings, OneBatch(trainer), (GRADIENTS, UPDATE))
        runtime.start(lambda: (0, jax.device_get(jax.jit(made.make_state)())))
        yield Trained(trainer, runtime, made.arrays)
