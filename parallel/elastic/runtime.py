"""Programs and state on the mesh of the moment; both follow when the mesh changes.

A run that survives is a loop around `Runtime.surviving`. The runtime knows nothing of what is
computed: a `Job` says which programs there are, and how its state lies on a mesh.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic.cluster import Cluster, GoBack, Lower, NodeFailure
from parallel.elastic.formation import Generation, Rings, Stopwatch
from parallel.spmd.mesh import num_rings

T = TypeVar("T")


class Job(Protocol):
    """What is computed."""

    @property
    def programs(self) -> Mapping[str, Lower]:
        """What runs on a mesh, by name."""

    @property
    def shapes(self) -> Any:
        """The state, as a tree of what has a shape and a dtype."""

    def shardings(self, mesh: Mesh) -> Any:
        """How the state lies on a mesh, as a tree of NamedShardings."""


@dataclasses.dataclass(frozen=True)
class Recovered:
    """What one recovery gives for the log."""

    generation: Generation
    lost: frozenset[int]
    back: frozenset[int]
    state_from: str  # "replica", "neighbour" or "checkpoint"
    steps_lost: int
    compiled: int  # programs that had to be compiled
    watch: Stopwatch


class Survived(NamedTuple, Generic[T]):
    """The result of a step, and the recoveries that it took."""

    step: int  # that was done: an earlier one than was asked for, if its state was lost
    result: T
    recovered: list[Recovered]


class Runtime:
    """The programs and the state of one job.

    Args:
      ahead: the programs of a step: loaded with each mesh, and compiled in the background for the
        next smaller one.
      on_generation: is told the step at hand and each generation that was formed.
    """

    def __init__(
        self,
        cluster: Cluster,
        rings: Rings,
        job: Job,
        ahead: tuple[str, ...] = (),
        on_generation: Callable[[int, Generation], None] = lambda step, generation: None,
    ):
        self.cluster = cluster
        self.generation: Generation
        self._settled: Generation  # the last one with the state on its mesh
        self.step = 0  # steps that the state has behind it
        self.state: Any = None
        self.loading: dict[str, float] = {}  # seconds that the run has waited for each program
        self._rings = rings
        self._job = job
        self._programs = {name: cluster.program(name, low) for name, low in job.programs.items()}
        self._ahead = ahead
        self._loaded: dict[str, Callable[..., Any]] = {}
        self._on_generation = on_generation
        self._preparing: threading.Thread | None = None

    @property
    def mesh(self) -> Mesh:
        return self.generation.mesh

    @property
    def num_rings(self) -> int:
        return num_rings(self.mesh)

    def start(self, go_back: GoBack) -> int:
        """Forms the first mesh and lays the state out on it; that of a run which goes on may lose
        nodes meanwhile. Returns the step at hand.
        """
        failed = False
        while True:
            try:
                self._enter(self.cluster.next(None, failed, Stopwatch()))
                self._rebuild(go_back)
                break
            except NodeFailure:
                failed = True
                self._loaded = {}
        self._on_generation(self.step, self.generation)
        self._settled = self.generation
        return self.step

    def put(self, x: Any, *partition: Any) -> Any:
        """Puts a host array, or a tree of them, on the mesh; all processes pass the same."""
        sharding = NamedSharding(self.mesh, P(*partition))
        if sharding.is_fully_addressable:
            return jax.device_put(x, sharding)
        return jax.tree.map(
            lambda a: jax.make_array_from_callback(a.shape, sharding, lambda at: a[at]), x
        )

    def run(self, name: str, *args: Any, step: int) -> Any:
        """Runs a program of the job on the current mesh. Raises NodeFailure."""
        if name not in self._loaded:
            self._load(name)
        return self.cluster.run(self._loaded[name], *args, step=step)

    def read(self, x: jax.Array, step: int) -> np.ndarray[Any, Any]:
        """The value, in host memory, of an array that is whole on every device. Raises
        NodeFailure, where it would be read from a node that is lost.
        """
        if x.is_deleted():
            raise NodeFailure(step)
        return np.asarray(x)

    def hold(self, step: int, state: Any) -> None:
        """Goes on with this state, which has `step` steps behind it."""
        self.step, self.state = step, state
        self.cluster.hold(step, state, self.generation)

    def surviving(self, n: int, work: Callable[[int], T], go_back: GoBack) -> Survived[T]:
        """The result of `work(n)`, on as many meshes as it takes.

        If the state before step `n` is lost, it is that of another step: the newest that can be
        had. `work` begins with it anew whenever it raises NodeFailure.
        Raises: NotEnoughNodes; TimeoutError if a step failed although no node was lost.
        """
        failed, recovered = False, list[Recovered]()
        while True:
            try:
                if failed or self.cluster.changed(self.generation):
                    for each in recovered[-1:]:
                        each.watch.lap("step")  # which has failed
                    recovered.append(self._recover(n, failed, go_back))
                    n = self.step
                result = work(n)
            except NodeFailure:
                failed = True
                continue
            for each in recovered[-1:]:
                each.watch.lap("step")
            return Survived(n, result, recovered)

    def prepare(self) -> None:
        """Compiles, in the background, for the mesh that the loss of one more ring would leave."""
        shape = self._rings.shape(self.generation, fewer=1)
        if shape is None or (self._preparing and self._preparing.is_alive()):
            return
        ahead = [self._programs[name] for name in self._ahead]
        missing = [program for program in ahead if not program.is_prepared(shape)]
        if missing:
            self._preparing = threading.Thread(
                target=lambda: [program.prepare(shape) for program in missing], name="prepare"
            )
            self._preparing.start()

    def close(self) -> None:
        """Waits for a compilation in the background, which cannot be broken off."""
        if self._preparing:
            self._preparing.join()

    def _enter(self, generation: Generation) -> int:
        """Returns how many programs had to be compiled."""
        self.generation = generation
        shape = self.mesh.devices.shape
        compiled = sum(not self._programs[name].is_prepared(shape) for name in self._ahead)
        self._loaded = {}
        for name in self._ahead:
            self._load(name)
        return compiled

    def _load(self, name: str) -> None:
        began = time.perf_counter()
        self._loaded[name] = self._programs[name].on(self.mesh)
        waited = time.perf_counter() - began
        self.loading[name] = self.loading.get(name, 0.0) + waited

    def _recover(self, n: int, after_failure: bool, go_back: GoBack) -> Recovered:
        watch, before = Stopwatch(), self._settled
        self._loaded, self.state = {}, None  # they keep alive what a process leaves behind
        after = self.cluster.next(self.generation, after_failure, watch)
        self.cluster.progress(n, "recovering")
        compiled = self._enter(after)
        watch.lap("programs")
        state_from = self._rebuild(go_back)
        jax.block_until_ready(self.state)
        watch.lap("state")
        self._on_generation(max(n, self.step), after)  # a node left out comes from an earlier one
        self._settled = after
        return Recovered(
            after,
            lost=after.members.lost_since(before.members),
            back=after.members.back_since(before.members),
            state_from=state_from,
            steps_lost=n - self.step,
            compiled=compiled,
            watch=watch,
        )

    def _rebuild(self, go_back: GoBack) -> str:
        self.state = None
        shardings = self._job.shardings(self.mesh)
        step, tree, source = self.cluster.rebuild(self.generation, shardings, go_back)
        self.hold(step, tree)
        return source
