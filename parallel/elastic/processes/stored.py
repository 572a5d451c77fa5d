"""Compiled programs as files: written by whoever compiles, loaded by all."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from parallel.elastic.cluster import Lower
from parallel.elastic.processes import wire
from parallel.spmd.executables import Portable, Program


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


def program_path(folder: Path, name: str, shape: tuple[int, ...]) -> Path:
    """Where a compiled program lies."""
    return folder / f"{name.replace(' ', '_')}-{'x'.join(map(str, shape))}.program"


class Kept(Program):
    """A program that is compiled here only if it does not lie in a folder, where it then lies."""

    def __init__(self, lower: Lower, devices: list[jax.Device], folder: Path, name: str):
        super().__init__(lower, devices)
        self._folder, self._name = folder, name

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """See Program."""
        return program_path(self._folder, self._name, shape).exists()

    def prepare(self, shape: tuple[int, ...]) -> Portable:
        """See Program."""
        path = program_path(self._folder, self._name, shape)
        if path.exists():
            portable: Portable = pickle.loads(path.read_bytes())
            return portable
        portable = super().prepare(shape)
        partial = path.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(portable))
        partial.rename(path)
        return portable
