"""Whole runs of configs/tiny.py in this process. What is a pure function of the config is made once
for all of them.

Compiling takes ten times as long as such a run, so runs of equal programs share these.
"""

import contextlib
import functools
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest
from ml_collections import ConfigDict

from configs import tiny
from parallel.elastic.inject import EmulatedCluster
from parallel.elastic.supervisor import Supervisor
from parallel.spmd.executables import Program
from stepjax.train import corpus, heldout, jsonl, loop, trainer
from stepjax.train.check import check
from stepjax.train.step import trained_on

NOT_IN_PROGRAMS = ("faults", "checkpoint", "evaluate", "fabric")
TRAJECTORY = ("step", "loss", "loss_text", "loss_audio", "grad_norm", "sample_ids_hash")

_made: dict[tuple, Any] = {}


def config(faults: str = "", **changes) -> ConfigDict:
    """configs/tiny.py with other faults; `mesh_fsdp=2` stands for `--config.mesh.fsdp=2`."""
    c = tiny.get_config()
    c.faults = faults
    c.update_from_flattened_dict(
        {name.replace("_", ".", 1): value for name, value in changes.items()}
    )
    return c


def train(config: ConfigDict, workdir: Path, scored: bool = True) -> dict:
    """A run; if it is not scored, it does not even compile what it would be scored with."""
    with sharing(config), pytest.MonkeyPatch.context() as patch:
        if not scored:
            patch.setattr(
                heldout.Heldout,
                "score",
                lambda self, step: heldout.Score(wer=0.0, cer=0.0, loss=0.0),
            )
        return loop.train(config, workdir)


class Quiet(NamedTuple):
    """What a run to which nothing happens leaves."""

    trajectory: list[tuple]
    result: dict


@functools.cache
def without_faults(scored: bool = True, **changes) -> Quiet:
    with tempfile.TemporaryDirectory() as folder:
        result = train(config(**changes), Path(folder), scored)
        return Quiet(trajectory(Path(folder)), result)


@contextlib.contextmanager
def trainer_on(config: ConfigDict) -> Iterator[trainer.Trainer]:
    """A trainer at step 0, and nothing around it."""
    topology, layout, plan = check(config)
    gpus = config.fabric.gpus_per_node
    with sharing(config), EmulatedCluster(topology.num_nodes, gpus, plan) as cluster:
        data = corpus_of(config)
        make_params, step = loop.model_and_step(config, data.recipe.vocabulary.size)
        shapes = {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in arrays(config, 0).items()}
        supervisor = Supervisor(cluster, topology, layout, gpus)
        made = trainer.Trainer(step, supervisor, shapes, config.data.microbatch, config.objective)
        made.initialize(make_params)
        yield made


def corpus_of(config: ConfigDict) -> corpus.Corpus:
    """The corpus of a run, with its recipe."""
    with sharing(config):
        splits = corpus.open_splits(config.data)
        recipe = corpus.fit(splits, config.data, config.seed, config.mesh.tensor)
        return corpus.make(splits, recipe, config.data, config.seed)


def arrays(config: ConfigDict, n: int) -> dict:
    """What the device programs read of batch `n`."""
    return trained_on(corpus_of(config).batches[n].arrays)


def trajectory(workdir: Path) -> list[tuple]:
    """All that must not depend on faults, of every step."""
    return [
        tuple(line[name] for name in TRAJECTORY) for line in jsonl.read(workdir / "metrics.jsonl")
    ]


def events(workdir: Path, name: str) -> list[dict]:
    return [line for line in jsonl.read(workdir / "events.jsonl") if line["event"] == name]


class Kept(Program):
    """A program that stays loaded on the mesh with which every run begins."""

    def __init__(self, *args):
        super().__init__(*args)
        self._first = None

    def on(self, mesh):
        self._first = self._first or (mesh, super().on(mesh))
        return self._first[1] if mesh == self._first[0] else super().on(mesh)


def _once(make, *key):
    if key not in _made:
        _made[key] = make()
    return _made[key]


@contextlib.contextmanager
def sharing(config: ConfigDict) -> Iterator[None]:
    """Within it, what was made before for an equal config is taken from there."""
    parts = {name: part for name, part in config.items() if name not in NOT_IN_PROGRAMS}
    name, order = ConfigDict(parts).to_json(sort_keys=True), itertools.count()
    fit, model_and_step = corpus.fit, loop.model_and_step

    def program(*args):
        return _once(lambda: Kept(*args), name, "program", next(order))

    def fitted(splits, data, *args):
        return _once(lambda: fit(splits, data, *args), data.to_json(), *args)

    def made_model(*args):
        return _once(lambda: model_and_step(*args), name, "model")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Program", program)
        patch.setattr(heldout, "Program", program)
        patch.setattr(corpus, "fit", fitted)
        patch.setattr(loop, "model_and_step", made_model)
        yield
