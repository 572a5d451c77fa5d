"""Programs compiled once per mesh shape and loaded onto any devices in milliseconds.

Which nodes will fail cannot be known, and there are too many sets of survivors to compile for. But the program
of a mesh depends only on its shape: the devices enter as a list of ids. So a program is compiled against a
stand-in mesh, serialized, and loaded with the ids of the devices that are there. After a failure nothing is
compiled if the smaller shape was compiled before, which `prepare` does in the background.

A program has to come fresh from the compiler. On CPUs XLA cannot serialize again what it has deserialized, neither
what was relocated nor what came out of JAX's compilation cache; the program loads, and fails when it runs.

Uses two private parts of JAX (0.10, 0.11): the unpickler of `jax.experimental.serialize_executable`, whose
public form can load a program only onto the devices it was compiled for, and `get_compile_options`.
"""

import io
import threading
from collections.abc import Callable

import jax
import numpy as np
from jax._src import compiler
from jax.experimental import serialize_executable
from jax.sharding import Mesh

from parallel.spmd.mesh import stand_in


class _Relocator(serialize_executable._JaxPjrtUnpickler):
    """Unpickles a compiled program with every old device replaced by the new one in the same place."""

    def __init__(self, serialized: bytes, old: list[jax.Device], new: list[jax.Device]):
        super().__init__(io.BytesIO(serialized), new[0].client, new)
        self.devices_by_id = {a.id: b for a, b in zip(old, new, strict=True)}
        self.options = compiler.get_compile_options(
            num_replicas=1, num_partitions=len(new), device_assignment=np.array([[d.id for d in new]])
        )

    def persistent_load(self, pid):
        if pid[0] == "exec":
            return self.backend.deserialize_executable(
                pid[1], executable_devices=self.execution_devices, compile_options=self.options
            )
        return super().persistent_load(pid)


def relocate(compiled: jax.stages.Compiled, old: Mesh, new: Mesh) -> jax.stages.Compiled:
    """Loads `compiled`, made for the devices of `old`, onto the devices of `new` (a mesh of the same shape)."""
    assert old.devices.shape == new.devices.shape, f"{old.shape} is not {new.shape}, and XLA would not notice."
    serialized, in_tree, out_tree = serialize_executable.serialize(compiled)
    unloaded, args_info, no_kwargs = _Relocator(serialized, list(old.devices.flat), list(new.devices.flat)).load()
    return jax.stages.Compiled(unloaded.load(), [], in_tree.unflatten(args_info), out_tree, no_kwargs=no_kwargs)


class Program:
    """One function of a mesh, compiled once per mesh shape.

    Args:
      lower: takes a mesh and returns the function lowered for it (`jax.jit(f).lower(*shapes)`).
      devices: all devices of the run; programs are compiled against the first ones.
    """

    def __init__(self, lower: Callable[[Mesh], jax.stages.Lowered], devices: list[jax.Device]):
        cache = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
        if cache and devices[0].platform == "cpu":
            raise ValueError(
                f"JAX's compilation cache is on, in {cache!r}, and on CPUs what comes out of it cannot be moved to "
                "other devices; run with JAX_ENABLE_COMPILATION_CACHE=0."
            )
        self._lower = lower
        self._devices = devices
        self._compiled: dict[tuple, jax.stages.Compiled] = {}
        self._locks: dict[tuple, threading.Lock] = {}
        self._guard = threading.Lock()

    def prepare(self, shape: tuple[int, ...]) -> jax.stages.Compiled:
        """Compiles for a mesh shape unless that was done; two callers of one shape compile it once."""
        with self._guard:
            lock = self._locks.setdefault(shape, threading.Lock())
        with lock:
            if shape not in self._compiled:
                self._compiled[shape] = self._lower(stand_in(shape, self._devices)).compile()
            return self._compiled[shape]

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """Whether a mesh of this shape needs no compiling."""
        return shape in self._compiled

    def on(self, mesh: Mesh) -> jax.stages.Compiled:
        """The program, ready to run on the devices of `mesh`."""
        compiled = self.prepare(mesh.devices.shape)
        return relocate(compiled, stand_in(mesh.devices.shape, self._devices), mesh)
