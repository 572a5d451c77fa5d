"""A trained model out of the folder of its run; neither the corpus nor the trainer is needed."""

from pathlib import Path
from typing import NamedTuple

import jax
from absl import logging
from flax import nnx
from ml_collections import ConfigDict

from stepjax.disk import checkpoint
from stepjax.disk.checkpoint import PARAMS
from stepjax.disk.files import read_json
from stepjax.model import step_audio
from stepjax.model.step_audio import ModelConfig, StepAudio
from stepjax.recipe import Recipe


class Loaded(NamedTuple):
    """A model for one device, and what it takes to talk to it."""

    model: StepAudio
    recipe: Recipe


def load(workdir: str | Path) -> Loaded:
    """The model of a run as its newest whole checkpoint has it. The run may be going on.

    Checkpoints that are damaged are passed over with a warning.
    Raises: ValueError, in one sentence, if the folder holds no run, or if it is damaged.
    """
    workdir = Path(workdir)
    config, folder = config_of(workdir), workdir / "checkpoints"
    recipe = Recipe.load(workdir / "recipe")
    try:
        step, arrays, damaged = checkpoint.newest(folder, f"{PARAMS}/")
    except FileNotFoundError as error:
        raise ValueError(f"{folder} holds no checkpoint yet; let the run save one.") from error
    for reason in damaged.values():
        logging.warning("%s; the checkpoint of step %d serves.", reason, step)
    sizes, vocab = ModelConfig.of(config.model), recipe.vocabulary.size
    graph, params = nnx.split(
        nnx.eval_shape(lambda: step_audio.make(sizes, vocab, seed=0)), nnx.Param
    )
    shapes = {PARAMS: nnx.to_pure_dict(params)}
    trained = checkpoint.as_tree(shapes, arrays, folder / str(step))[PARAMS]
    nnx.replace_by_pure_dict(params, jax.tree.map(jax.numpy.asarray, trained))
    return Loaded(nnx.merge(graph, params), recipe)


def config_of(workdir: str | Path) -> ConfigDict:
    """The config that a run was started with."""
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{workdir} holds no run, since {path.name} is missing; name a --workdir of one."
        )
    return ConfigDict(read_json(path))
