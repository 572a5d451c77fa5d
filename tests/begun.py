"""The folder of a run that has begun and trained nothing: made in a moment, without a trainer."""

from pathlib import Path

import numpy as np
import tiny_run
from ml_collections import ConfigDict

from stepjax.disk import checkpoint, files
from stepjax.train.programs import model_and_programs


def run(workdir: Path, config: ConfigDict, steps_done: int = 0) -> None:
    """Writes what a run of `config` would have in `workdir`; its model has its first weights."""
    recipe = tiny_run.corpus_of(config).recipe
    make_state, _ = model_and_programs(config, recipe.vocabulary.size)
    params = checkpoint.named({checkpoint.PARAMS: make_state().params})
    files.replace(workdir / "config.json", config.to_json_best_effort())
    recipe.save(workdir / "recipe")
    arrays = {name: np.asarray(x) for name, x in params.items()}
    checkpoint.write(workdir / "checkpoints" / str(steps_done), arrays)
