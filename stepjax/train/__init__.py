"""Training: `train(config, workdir)` trains a model, or goes on where an earlier run stopped.

A name is imported when it is first used, so the records of a run can be read without jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepjax.train.loop import Interrupted as Interrupted
    from stepjax.train.loop import Stopped as Stopped
    from stepjax.train.loop import train as train
    from stepjax.train.trainer import NotFinite as NotFinite

_HOMES = {
    # a run
    "train": "stepjax.train.loop",
    # why it ended early
    "Interrupted": "stepjax.train.loop",
    "NotFinite": "stepjax.train.trainer",
    "Stopped": "stepjax.train.loop",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
