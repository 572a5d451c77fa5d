"""Whole runs of configs/tiny.py in this process. What is a pure function of the config is made once
for all of them.

Compiling takes ten times as long as such a run, so runs of equal programs share these.
"""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest
from ml_collections import ConfigDict

from configs import tiny
from parallel.elastic.emulated import EmulatedCluster
from parallel.elastic.formation import Rings
from parallel.elastic.runtime import Runtime
from parallel.spmd.executables import Program
from stepjax.train import corpus, heldout, job, jsonl, loop
from stepjax.train.check import check
from stepjax.train.programs import GRADIENTS, UPDATE
from stepjax.train.step import trained_on
from stepjax.train.trainer import Measured

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
                lambda self, step, runtime: heldout.Score(wer=0.0, cer=0.0, loss=0.0),
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


class Begun(NamedTuple):
    """A job on a mesh."""

    job: job.TrainingJob
    runtime: Runtime

    def step(self, n: int, arrays: dict) -> Measured:
        return self.job.trainer.step(n, arrays, self.runtime)


@contextlib.contextmanager
def job_on(config: ConfigDict) -> Iterator[Begun]:
    """The job of a config at step 0, and nothing around it."""
    topology, layout, plan = check(config)
    rings = Rings(topology, layout, config.fabric.gpus_per_node)
    with sharing(config), EmulatedCluster(rings, plan) as cluster:
        made = job.TrainingJob.of(config, corpus_of(config))
        runtime = Runtime(cluster, rings, made, (GRADIENTS, UPDATE))
        with contextlib.closing(runtime):
            runtime.start(lambda: (0, jax.device_get(jax.jit(made.make_state)())))
            yield Begun(made, runtime)


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
    equal = ConfigDict(parts).to_json(sort_keys=True)
    fit, model_and_programs = corpus.fit, job.model_and_programs

    def program(cluster, name, lower):
        return _once(lambda: Kept(lower, jax.devices()), equal, name)

    def fitted(splits, data, *args):
        return _once(lambda: fit(splits, data, *args), data.to_json(), *args)

    def made_model(*args):
        return _once(lambda: model_and_programs(*args), equal, "model")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmulatedCluster, "program", program)
        patch.setattr(corpus, "fit", fitted)
        patch.setattr(job, "model_and_programs", made_model)
        yield
