"""Checkpoints with Orbax: written in the background, committed whole, restored onto any mesh."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class Checkpoints:
    """The checkpoints of one run, numbered by the steps that they contain.

    A checkpoint becomes visible by one rename after everything in it was written, so a half-written
    one is never restored. One replica of each part is written: to share the writing among replicas,
    Orbax compiles a slicing program for every array, which costs more than it saves where a run is
    often interrupted.
    """

    def __init__(self, folder: Path, keep: int):
        types = ocp.type_handlers
        handlers = types.create_type_handler_registry(
            (np.ndarray, types.NumpyHandler()),
            (jax.Array, types.ArrayHandler(use_replica_parallel=False)),
        )
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True),
            item_handlers=ocp.PyTreeCheckpointHandler(type_handler_registry=handlers),
        )

    def save(self, step: int, state: Any, exponents: np.ndarray) -> None:
        """Copies the state off the devices, then writes it in the background; `step` steps are
        done.
        """
        if step in self._manager.all_steps():
            return
        tree = {"state": state, "exponents": exponents}
        self._manager.save(step, args=ocp.args.PyTreeSave(tree))

    def latest(self) -> int | None:
        """Steps done in the newest whole checkpoint, if there is one."""
        self._manager.wait_until_finished()
        return self._manager.latest_step()

    def restore(
        self, shapes: Any, shardings: Any, num_exponents: int
    ) -> tuple[int, Any, np.ndarray]:
        """The newest checkpoint, laid out as asked.

        Returns: steps done, state, exponents of the gradient sums.
        """
        step = self.latest()
        tree = {
            "state": jax.tree.map(
                lambda s, h: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=h), shapes, shardings
            ),
            "exponents": np.zeros(num_exponents, np.int32),
        }
        how = ocp.checkpoint_utils.construct_restore_args(tree)
        restored = self._manager.restore(step, args=ocp.args.PyTreeRestore(tree, restore_args=how))
        return step, restored["state"], np.asarray(restored["exponents"])

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()
