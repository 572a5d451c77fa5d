"""The state of a run and the programs that act on it, on whatever mesh there is at the moment.

M microbatches of a global batch   N parameters
"""

import dataclasses
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic import recovery, snapshot
from parallel.elastic.membership import Members
from parallel.elastic.supervisor import Generation, Stopwatch, Supervisor
from parallel.spmd import reduce
from parallel.spmd.executables import Program
from parallel.spmd.mesh import REPLICA_AXES, TENSOR, num_rings
from stepjax.train.microbatches import in_microbatches, num_slots
from stepjax.train.objective import KINDS
from stepjax.train.step import Step


class NotFinite(RuntimeError):
    """The loss of a step is not a finite number."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one step gives for the log."""

    loss: float
    loss_by_kind: dict[str, float | None]  # mean of a token; None if the batch has none of the kind
    grad_norm: float
    tokens: int  # with a loss


@dataclasses.dataclass(frozen=True)
class Recovered:
    """What one recovery gives for the log."""

    generation: Generation
    lost: frozenset[int]
    back: frozenset[int]
    state_from: str  # "replica", "neighbour" or "checkpoint"
    watch: Stopwatch


class Trainer:
    """Trains on the current generation's mesh, and moves to the next one when nodes go or come.

    Args:
      step: the device programs.
      supervisor: forms generations.
      batch_shapes: of one global batch's arrays, by name: what the model and the loss read.
      microbatch: rows of a microbatch.
      kind_weights: weight of a token of each kind in the loss.
    """

    def __init__(
        self,
        step: Step,
        supervisor: Supervisor,
        batch_shapes: Mapping[str, jax.ShapeDtypeStruct],
        microbatch: int,
        kind_weights: Mapping[str, float],
    ):
        self.step, self.supervisor, self.cluster = step, supervisor, supervisor.cluster
        self.batch_shapes, self.microbatch = batch_shapes, microbatch
        self.kind_weights = np.array([kind_weights[kind] for kind in KINDS], np.float32)
        self.num_microbatches = next(iter(batch_shapes.values())).shape[0] // microbatch
        self.devices = [
            device for node in sorted(self.cluster.devices) for device in self.cluster.devices[node]
        ]
        self._gradients = Program(self._lower_gradients, self.devices)
        self._update = Program(self._lower_update, self.devices)
        self._preparing: threading.Thread | None = None
        self.exponents = np.zeros(len(jax.tree.leaves(step.shapes)), np.int32)
        self.state: Any = None
        self.copies: snapshot.Snapshot | None = None
        self.generation = supervisor.first()
        self.prepare()
        self._enter(self.generation)

    # -- the mesh of the moment
    # ------------------------------------------------------------------------------

    @property
    def mesh(self) -> Mesh:
        return self.generation.mesh

    @property
    def num_rings(self) -> int:
        return num_rings(self.mesh)

    def on_mesh(self, x, *partition):
        """Puts a host array, or a dict of them, on the current mesh."""
        return jax.device_put(x, NamedSharding(self.mesh, P(*partition)))

    def _enter(self, generation: Generation) -> None:
        self.generation = generation
        self.gradients, self.update = (
            self._gradients.on(generation.mesh),
            self._update.on(generation.mesh),
        )

    def prepare(self) -> None:
        """Compiles, in the background, for the mesh that the loss of one more ring would leave."""
        groups = len(self.generation.placement.groups)
        if groups < 2 or (self._preparing and self._preparing.is_alive()):
            return
        per_group = max(
            1,
            self.supervisor.nodes_per_group * self._gpus_per_node // self.supervisor.layout.tensor,
        )
        shape = tuple(self.supervisor.layout.sizes((groups - 1) * per_group).values())
        if not self._gradients.is_prepared(shape):
            self._preparing = threading.Thread(target=self._compile, args=(shape,), name="prepare")
            self._preparing.start()

    def close(self) -> None:
        """Waits for a compilation in the background, which cannot be broken off."""
        if self._preparing:
            self._preparing.join()

    def _compile(self, shape) -> None:
        self._gradients.prepare(shape)
        self._update.prepare(shape)

    @property
    def _gpus_per_node(self) -> int:
        return len(self.cluster.devices[0])

    # -- programs
    # --------------------------------------------------------------------------------------------

    def shaped(self, tree, shardings):
        """ShapeDtypeStructs of `tree` laid out by `shardings`."""
        return jax.tree.map(
            lambda s, h: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=h), tree, shardings
        )

    def state_shapes(self):
        """Global shapes of (params, optimizer state)."""
        return self.step.shapes, jax.eval_shape(self.step.optimizer.init, self.step.shapes)

    def _lower_gradients(self, mesh: Mesh):
        whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(REPLICA_AXES))
        slots = num_slots(self.num_microbatches, num_rings(mesh))
        batch = {
            name: jax.ShapeDtypeStruct(
                (slots * num_rings(mesh), self.microbatch, *s.shape[1:]), s.dtype, sharding=split
            )
            for name, s in self.batch_shapes.items()
        }
        floats = [
            jax.ShapeDtypeStruct((n,), jnp.float32, sharding=whole)
            for n in (len(KINDS), len(self.exponents))
        ]
        count = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
        params = self.shaped(self.step.shapes, self.step.shardings(mesh)[0])
        return jax.jit(self.step.gradients(mesh)).lower(params, batch, *floats, count)

    def _lower_update(self, mesh: Mesh):
        whole = NamedSharding(mesh, P())
        state = self.shaped(self.state_shapes(), self.step.shardings(mesh))
        norm = jax.ShapeDtypeStruct((), jnp.float32, sharding=whole)
        return jax.jit(self.step.update(mesh), donate_argnums=0).lower(state, state[0], norm)

    # -- a step
    # ----------------------------------------------------------------------------------------------

    def initialize(self, make_params: Callable[[], Any]) -> None:
        """The state at step 0, made in place on every device; `make_params` is a pure function."""
        shardings = self.step.shardings(self.mesh)
        params = jax.jit(make_params, out_shardings=shardings[0])()
        state = params, jax.jit(self.step.optimizer.init, out_shardings=shardings[1])(params)
        self.adopt(state, np.zeros_like(self.exponents), step=0)

    def adopt(self, state: Any, exponents: np.ndarray, step: int) -> None:
        """Goes on with this state, which has `step` steps behind it, laid out for the current
        mesh.
        """
        self.state, self.exponents = state, exponents
        self._keep_copies(step)

    def train_on(self, n: int, arrays: Mapping[str, np.ndarray]) -> Measured:
        """Step `n` on its global batch.

        Raises:  NodeFailure, with the state as it was; NotFinite.
        """
        counts = np.array([(arrays["kind"] == k + 1).sum() for k in range(len(KINDS))])
        weights = (self.kind_weights / max(self.kind_weights @ counts, 1e-9)).astype(np.float32)
        split = in_microbatches(arrays, self.microbatch, self.num_rings)
        batch = self.on_mesh(split, REPLICA_AXES)
        slots = self.on_mesh(np.int32(-(-self.num_microbatches // self.num_rings)))
        while True:
            scales = self.on_mesh(reduce.scales(self.exponents))
            inputs = self.state[0], batch, self.on_mesh(weights), scales, slots
            grads, largest, norm, losses = self.cluster.run(self.gradients, *inputs, step=n)
            sums = np.array(
                [math.fsum(of_kind) for of_kind in np.asarray(losses).reshape(-1, len(KINDS)).T]
            )
            largest = np.asarray(largest)
            if not (np.isfinite(sums).all() and np.isfinite(largest).all()):
                raise NotFinite(
                    f"the loss of step {n} is not finite; lower optimizer.learning_rate or "
                    "optimizer.clip, and train in another --workdir."
                )
            terms = self.num_microbatches * self.mesh.shape[TENSOR]
            if reduce.fits(self.exponents, largest, terms):
                break
            self.exponents = reduce.predict(largest, terms)
        state = self.cluster.run(self.update, self.state, grads, norm, step=n)
        self.adopt(state, reduce.predict(largest, terms), n + 1)
        by_kind = {
            kind: s / c if c else None
            for kind, s, c in zip(KINDS, sums.tolist(), counts.tolist(), strict=True)
        }
        return Measured(
            float(weights.astype(np.float64) @ sums), by_kind, float(norm), int(counts.sum())
        )

    # -- faults
    # ----------------------------------------------------------------------------------------------

    def _keep_copies(self, n: int) -> None:
        """Where a part of the state has no replica, its ring neighbour keeps a copy of it."""
        if self.state is not None and snapshot.replicas(self.state, self.cluster.node_of) < 2:
            keepers = snapshot.keepers(self.generation.placement.groups)
            self.copies = snapshot.keep(self.state, keepers, self.cluster.devices, n)
        else:
            self.copies = None

    def membership_changed(self) -> bool:
        return self.cluster.membership.members().epoch != self.generation.members.epoch

    def recover(self, n: int, after_failure: bool) -> Recovered:
        """Moves to a mesh of the nodes that are there now, with the state from before step `n`.

        Where no live copy of some part is left, there is no state, and the caller has to bring one.
        Raises:  NotEnoughNodes.
        """
        watch, before = Stopwatch(), self.generation
        after = self.supervisor.next(before, after_failure, watch)
        self.cluster.reach(n, "recovering")
        self._enter(after)
        watch.lap("programs")
        state_from = self._move_state(after.mesh, self._devices_without(after.members))
        self._keep_copies(n)
        jax.block_until_ready(self.state)
        watch.lap("state")
        lost = after.members.lost_since(before.members)
        back = after.members.back_since(before.members)
        return Recovered(after, lost, back, state_from, watch)

    def _devices_without(self, members: Members) -> list[jax.Device]:
        """The devices of all nodes that are not alive."""
        lost = set(self.cluster.devices) - members.nodes
        return [device for node in lost for device in self.cluster.devices[node]]

    def _move_state(self, mesh: Mesh, lost) -> str:
        """Lays the state out on `mesh`, and says where the parts of the lost devices came from."""
        shardings = self.step.shardings(mesh)
        if recovery.covers(self.state, lost):
            self.state = recovery.reassemble(self.state, shardings, lost)
            return "replica"
        if not recovery.covers(self.state, lost, self.copies):
            self.state = self.copies = None
            return "checkpoint"
        self.state = recovery.reassemble(self.state, shardings, lost, self.copies)
        return "neighbour"

    def whole_state(self):
        """The state on one device that is alive, for a last checkpoint; None if parts of it are
        lost.
        """
        members = self.cluster.membership.members()
        lost = self._devices_without(members)
        if not members.nodes or not recovery.covers(self.state, lost, self.copies):
            return None
        one = jax.sharding.SingleDeviceSharding(self.cluster.devices[min(members.nodes)][0])
        return recovery.reassemble(
            self.state, jax.tree.map(lambda _: one, self.state), lost, self.copies
        )
