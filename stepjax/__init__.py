"""Speech-text models of the Step-Audio family, trained on rings that survive node failures.

    loaded = stepjax.load("runs/digits")         # the model and the recipe of a run
    stepjax.Transcriber(loaded, rows=8)          # hears recordings
    stepjax.train.train(config, Path("runs/x"))  # trains, or goes on where an earlier run stopped

A name is imported when it is first used, so `import stepjax` takes no time and needs no jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepjax import train as train
    from stepjax.infer.load import Loaded as Loaded
    from stepjax.infer.load import load as load
    from stepjax.infer.transcribe import Transcriber as Transcriber
    from stepjax.model.step_audio import StepAudio as StepAudio
    from stepjax.recipe import Recipe as Recipe

_HOMES = {
    # training: a package with names of its own
    "train": "stepjax",
    # a run that has been trained
    "Loaded": "stepjax.infer.load",
    "Transcriber": "stepjax.infer.transcribe",
    "load": "stepjax.infer.load",
    # what it consists of
    "Recipe": "stepjax.recipe",
    "StepAudio": "stepjax.model.step_audio",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "train":
        return importlib.import_module("stepjax.train")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
