"""Compiled programs as files: written by whoever compiles, loaded by all."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from parallel.elastic.processes import wire
from parallel.spmd.executables import Portable, program_path


class Stored:
    """A program that the compiling process keeps in a folder."""

    def __init__(self, name: str, folder: Path, ask: Callable[[wire.Want], None]):
        self._name, self._folder, self._ask = name, folder, ask

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """See Program."""
        return self._path(shape).exists()

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Nothing is left to do here: the supervisor sees to it that smaller meshes are compiled
        for.
        """

    def on(self, mesh: Mesh) -> Callable[..., Any]:
        """See Program. Waits until it has been compiled."""
        shape = mesh.devices.shape
        if not self.is_prepared(shape):
            self._ask(wire.Want(self._name, shape))
        portable: Portable = pickle.loads(self._path(shape).read_bytes())
        return portable.on(mesh)

    def _path(self, shape: tuple[int, ...]) -> Path:
        return program_path(self._folder, self._name, shape)
