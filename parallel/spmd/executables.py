"""Programs compiled once per mesh shape and loaded onto any devices in a fraction of a second.

Nobody knows which nodes will fail, and there are too many sets of survivors to compile for. But the
program of a mesh depends only on its shape: the devices enter as a list of ids. So a program is
compiled against a stand-in mesh, serialized, and loaded with the ids of the devices that are there.
After a failure nothing is compiled if the smaller shape was compiled before; the trainer calls
`prepare` for that in the background.

Only a program fresh from the compiler can be serialized. On CPUs XLA cannot serialize again what it
has deserialized, neither a relocated program nor one from JAX's compilation cache: the copy loads,
and fails when it runs.

Uses two private parts of JAX (0.10, 0.11): the unpickler of
`jax.experimental.serialize_executable`, whose public form can load a program only onto the devices
it was compiled for, and `get_compile_options`.
"""

import dataclasses
import io
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax._src import compiler
from jax.experimental import serialize_executable
from jax.sharding import Mesh

from parallel.spmd.mesh import stand_in

# Compiler options with which every program ends, with the same bits every time. On CPUs, XLA splits
# matrix products over a pool of threads, and emulated devices that wait for each other hold threads
# of that pool: on 16 cores all threads waited for ever. How a product is split may also depend on
# the number of cores. On GPUs, XLA adds with atomics, in any order, and chooses kernels by timing.
REPRODUCIBLE: dict[str, dict[str, str | bool]] = {
    "cpu": {"xla_cpu_multi_thread_eigen": False},
    "gpu": {"xla_gpu_deterministic_ops": True},
}


class _Relocator(serialize_executable._JaxPjrtUnpickler):
    """Unpickles a compiled program, with the new device in the place of each old one."""

    def __init__(self, serialized: bytes, old_ids: tuple[int, ...], new: list[jax.Device]):
        super().__init__(  # type: ignore[no-untyped-call]
            io.BytesIO(serialized), new[0].client, new
        )
        self.devices_by_id = dict(zip(old_ids, new, strict=True))
        self.options = compiler.get_compile_options(
            num_replicas=1,
            num_partitions=len(new),
            device_assignment=np.array([[d.id for d in new]]),
        )

    def persistent_load(self, pid: tuple[Any, ...]) -> Any:
        if pid[0] == "exec":
            return self.backend.deserialize_executable(
                pid[1], executable_devices=self.execution_devices, compile_options=self.options
            )
        return super().persistent_load(pid)  # type: ignore[no-untyped-call]


@dataclasses.dataclass(frozen=True)
class Portable:
    """A compiled program as bytes, on no device.

    It can be pickled, and loaded by another process with the same JAX on the same kind of machine.

    Args:
      shape: the shape of the mesh that it was compiled for.
      device_ids: the devices of that mesh.
    """

    serialized: bytes
    in_tree: Any
    out_tree: Any
    shape: tuple[int, ...]
    device_ids: tuple[int, ...]

    @classmethod
    def of(cls, compiled: jax.stages.Compiled, mesh: Mesh) -> "Portable":
        """`compiled`, made for the devices of `mesh`, to be loaded onto those of other meshes."""
        serialized, in_tree, out_tree = serialize_executable.serialize(compiled)
        ids = tuple(d.id for d in mesh.devices.flat)
        return cls(serialized, in_tree, out_tree, mesh.devices.shape, ids)

    def on(self, mesh: Mesh) -> jax.stages.Compiled:
        """Loads the program onto the devices of `mesh`, whose shape equals `shape`.

        Some of them may belong to other processes, each of which loads the program, too.
        """
        assert self.shape == mesh.devices.shape, (
            f"{self.shape} is not {mesh.devices.shape}, and XLA would not notice."
        )
        unpickler = _Relocator(self.serialized, self.device_ids, list(mesh.devices.flat))
        unloaded, args_info, no_kwargs = unpickler.load()
        args = self.in_tree.unflatten(args_info)
        return jax.stages.Compiled(unloaded.load(), [], args, self.out_tree, no_kwargs=no_kwargs)


class Program:
    """One function of a mesh, compiled once per mesh shape.

    Args:
      lower: takes a mesh and returns the function lowered for it (`jax.jit(f).lower(*shapes)`).
      devices: all devices of the run; programs are compiled against the first ones.
    """

    def __init__(self, lower: Callable[[Mesh], jax.stages.Lowered], devices: list[jax.Device]):
        cache = _compilation_cache()
        if cache and devices[0].platform == "cpu":
            raise ValueError(
                f"JAX's compilation cache is on, in {cache!r}, and on CPUs a program from it "
                "cannot be moved to other devices; run with JAX_ENABLE_COMPILATION_CACHE=0."
            )
        self._lower = lower
        self._devices = devices
        self._compiled: dict[tuple[int, ...], Portable] = {}
        self._locks: dict[tuple[int, ...], threading.Lock] = {}
        self._guard = threading.Lock()

    def prepare(self, shape: tuple[int, ...]) -> Portable:
        """Compiles for a mesh shape, once even if several threads ask for it."""
        with self._guard:
            lock = self._locks.setdefault(shape, threading.Lock())
        with lock:
            if shape not in self._compiled:
                mesh = stand_in(shape, self._devices)
                options = REPRODUCIBLE.get(self._devices[0].platform)
                self._compiled[shape] = Portable.of(self._lower(mesh).compile(options), mesh)
            return self._compiled[shape]

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """Whether a mesh of this shape needs no compiling."""
        return shape in self._compiled

    def on(self, mesh: Mesh) -> jax.stages.Compiled:
        """The program, ready to run on the devices of `mesh`."""
        return self.prepare(mesh.devices.shape).on(mesh)


class Kept(Program):
    """A program that is compiled here only if it does not lie in a folder, where it then lies."""

    def __init__(
        self,
        lower: Callable[[Mesh], jax.stages.Lowered],
        devices: list[jax.Device],
        folder: Path,
        name: str,
    ):
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


def program_path(folder: Path, name: str, shape: tuple[int, ...]) -> Path:
    """Where a compiled program lies."""
    return folder / f"{name.replace(' ', '_')}-{'x'.join(map(str, shape))}.program"


def _compilation_cache() -> str | None:
    """The folder of JAX's compilation cache, if it is on."""
    config: Any = jax.config  # its options are made at run time, so they have no types
    return config.jax_compilation_cache_dir if config.jax_enable_compilation_cache else None
