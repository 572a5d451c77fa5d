"""The checkpoints of a run: written in the background, committed whole, restored onto any mesh."""

import dataclasses
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from stepjax.disk import checkpoint, sealed
from stepjax.disk.checkpoint import EXPONENTS, OPTIMIZER, PARAMS, SKIPPED
from stepjax.disk.files import writing
from stepjax.train.programs import State

_PARTS = (PARAMS, OPTIMIZER, EXPONENTS, SKIPPED)  # in the order of a State
DAMAGED = ".damaged"  # ends the name of a checkpoint that was set aside


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint that is on the disk, and how long that took."""

    step: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a run goes on from, in host memory. `damaged` says what is wrong with newer checkpoints,
    by step.
    """

    step: int
    state: State
    damaged: dict[int, str]


class Checkpoints:
    """The checkpoints of one run, numbered by the steps that they contain.

    One process at a time writes them. A checkpoint has its number as a name
    from the moment when everything in it is on the disk. The newest `keep` are kept; one that is
    found damaged is set aside under another name until its step has been saved again.
    """

    def __init__(self, folder: Path, keep: int):
        self.folder, self._keep = folder, keep
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._saving: Future[Saved] | None = None
        self._committed: list[Saved] = []

    def save(self, step: int, state: State) -> None:
        """Copies the state, then writes it in the background.

        Args:   step: steps done.   state: in host memory, which may be that of the devices.
        Raises: Unwritable, if the save before this one failed.
        """
        self._settle()
        if step in checkpoint.steps(self.folder):
            return
        copies = {name: np.array(x) for name, x in checkpoint.named(_parts(state)).items()}
        self._saving = self._writer.submit(self._commit, step, copies, time.perf_counter())

    def committed(self, wait: bool = False) -> list[Saved]:
        """What has come to the disk since this was asked last; with `wait`, all that was saved.

        Raises: Unwritable, if a save failed.
        """
        if wait or (self._saving and self._saving.done()):
            self._settle()
        new, self._committed = self._committed, []
        return new

    def latest(self) -> int | None:
        """Steps done in the newest checkpoint, if there is one."""
        self._settle()
        return max(checkpoint.steps(self.folder), default=None)

    def restore(self, shapes: State) -> Restored:
        """The newest whole checkpoint. Damaged ones are set aside.

        Raises: Damaged, if none is whole; ValueError, if its arrays have other shapes.
        """
        self._settle()
        step, arrays, damaged = checkpoint.newest(self.folder)
        for number in damaged:
            self._set_aside(number)
        arrays.setdefault(SKIPPED, np.zeros(2, np.int32))  # version 0.1 ended where one was due
        parts = checkpoint.as_tree(_parts(shapes), arrays, self.folder / str(step))
        return Restored(step, State(*map(parts.get, _PARTS)), damaged)

    def close(self) -> None:
        """Waits until everything is written."""
        self._writer.shutdown()

    def _settle(self) -> None:
        """Waits for the save at hand."""
        if self._saving:
            saving, self._saving = self._saving, None
            self._committed.append(saving.result())

    def _commit(self, step: int, arrays: dict[str, np.ndarray], began: float) -> Saved:
        checkpoint.write(self.folder / str(step), arrays)
        shutil.rmtree(self.folder / f"{step}{DAMAGED}", ignore_errors=True)
        for old in checkpoint.steps(self.folder)[: -self._keep]:
            sealed.remove(self.folder / str(old))
        return Saved(step, time.perf_counter() - began)

    def _set_aside(self, step: int) -> None:
        aside = self.folder / f"{step}{DAMAGED}"
        with writing(aside):
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / str(step)).rename(aside)


def sweep(folder: Path) -> None:
    """Removes what a process that was killed has left half-written. No one may be writing."""
    for left in folder.glob(f"*{sealed.PARTIAL}"):
        shutil.rmtree(left, ignore_errors=True)


def _parts(state: State) -> dict[str, Any]:
    """A state as the tree whose paths are the names of the saved arrays."""
    return dict(zip(_PARTS, state, strict=True))
