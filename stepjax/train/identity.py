"""Whose folder a workdir is: all that decides the numbers of a run, kept beside it.

    config.json     the config; its FREE parts may change from process to process
    recipe/         tokenizer, codec, vocabulary and limits, fitted at the run's start
    identity.json   the corpus, the recipe, and the settings, software and machine that calculate

A run goes on only where all of it is as it was, so its trajectory is the one that it began.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from stepjax import numerics
from stepjax.disk import checkpoint, sealed
from stepjax.disk.files import read_json, replace
from stepjax.recipe import Recipe
from stepjax.train.corpus import Splits

FREE = (  # parts of a config that do not change the trajectory; of a corpus the content counts
    "faults", "checkpoint", "evaluate", "optimizer.give_up_after", "data.cache", "data.manifest",
    "data.fsdd",
)  # fmt: skip
CONFIG, RECIPE, IDENTITY = "config.json", "recipe", "identity.json"
CURES = {  # by the first part of a name
    "corpus": "put back what it was trained on",
    "recipe": "put back its recipe",
    "settings": "the old value",
    "software": "install the old version",
    "machine": "go back to such a machine",
}


def take_up(workdir: Path, config: ConfigDict, splits: Splits, fit: Callable[[], Recipe]) -> Recipe:
    """Makes `workdir` the folder of this run, or sees that it is: then the run goes on.

    Args:    fit: makes the recipe, if the run is new.
    Returns: the recipe of the run.
    Raises:  ValueError, in one sentence that names what is missing, damaged or not as it was.
    """
    begun = bool(checkpoint.steps(workdir / "checkpoints"))
    settings = json.loads(config.to_json_best_effort())
    _check_config(workdir, settings, begun)
    folder = workdir / RECIPE
    if not begun and not (workdir / IDENTITY).exists():
        if folder.exists():  # a process that was killed may have fitted it to another corpus
            sealed.remove(folder)
        fit().save(folder)
    recipe = Recipe.load(folder)
    _keep_identity(workdir, of(splits, folder), begun)
    replace(workdir / CONFIG, json.dumps(settings, indent=1) + "\n")
    return recipe


def of(splits: Splits, recipe: Path) -> dict[str, str]:
    """All outside the config that decides a run's numbers: its name -> a hash, or what it is."""
    corpus = {"train": splits.train.identity(), "heldout": splits.heldout.identity()}
    return {
        **{f"corpus.{s}.{name}": x for s, known in corpus.items() for name, x in known.items()},
        "recipe": sealed.digest(recipe),
        **numerics.facts(),
    }


def check_here(workdir: Path) -> None:
    """Sees that this machine calculates as the one that has taken up `workdir`.

    Raises: ValueError, in one sentence that names what is not the same.
    """
    there = read_json(workdir / IDENTITY)
    for name, here in numerics.facts().items():
        if there.get(name) != here:
            raise ValueError(
                f"{name} is {here!r} on this node, and {there.get(name)!r} where the run was "
                "begun: all nodes of a run must calculate alike."
            )


def _check_config(workdir: Path, now: dict[str, Any], begun: bool) -> None:
    before = _before(workdir / CONFIG, begun)
    for name, (old, new) in _differences(before, now) if before else ():
        if not _is_free(name):
            raise ValueError(
                f"{workdir} holds a run with {name}={old!r}, and now it is {new!r}; "
                "use another --workdir, or the old value to resume."
            )


def _keep_identity(workdir: Path, now: dict[str, str], begun: bool) -> None:
    path = workdir / IDENTITY
    before = _before(path, begun)
    for name, (old, new) in _differences(before, now) if before else ():
        raise ValueError(
            f"{workdir} holds a run whose {name} was {old!r}, and now it is {new!r}; use another "
            f"--workdir, or {CURES[name.split('.')[0]]} to resume."
        )
    if before is None:
        replace(path, json.dumps(now, indent=1) + "\n")


def _before(path: Path, begun: bool) -> dict[str, Any] | None:
    """What an earlier process wrote; only a run that has saved nothing can do without."""
    if not path.exists() and not begun:
        return None
    return read_json(path)


def _is_free(name: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in FREE)


def _differences(before: Any, now: Any, name: str = "") -> list[tuple[str, tuple[Any, Any]]]:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [(name, (before, now))] if before != now else []
    return [
        difference
        for key in sorted(before.keys() | now.keys())
        for difference in _differences(
            before.get(key), now.get(key), f"{name}.{key}" if name else key
        )
    ]
