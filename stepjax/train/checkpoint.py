"""Checkpoints with Orbax: written in the background, committed whole, restored onto any mesh."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class Checkpoints:
    """The checkpoints of one run, numbered by the steps that they contain.

    A checkpoint becomes visible by one rename after everything in it was written, so a half-written one is
    never restored.
    """

    def __init__(self, folder: Path, keep: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, step: int, state: Any, exponents: np.ndarray) -> None:
        """Copies the state off the devices, then writes it in the background; `step` steps are done."""
        if step in self._manager.all_steps():
            return
        tree = {"state": state, "exponents": exponents}
        self._manager.save(step, args=ocp.args.StandardSave(tree))

    def latest(self) -> int | None:
        """Steps done in the newest whole checkpoint, if there is one."""
        self._manager.wait_until_finished()
        return self._manager.latest_step()

    def restore(self, shapes: Any, shardings: Any, num_exponents: int) -> tuple[int, Any, np.ndarray]:
        """The newest checkpoint, laid out as asked.

        Returns: steps done, state, exponents of the gradient sums.
        """
        step = self.latest()
        tree = {
            "state": jax.tree.map(lambda s, h: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=h), shapes, shardings),
            "exponents": np.zeros(num_exponents, np.int32),
        }
        restored = self._manager.restore(step, args=ocp.args.StandardRestore(tree))
        return step, restored["state"], np.asarray(restored["exponents"])

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()
