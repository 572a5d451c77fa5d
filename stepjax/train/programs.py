"""The state of a run, and the two device programs that act on it.

`gradients` does all communication of a step and changes nothing; `update` changes the state and
communicates nothing. So a step that fails because a node was lost leaves every survivor with the
state from before it.

  M microbatches   b rows of one   N parameters   R tensor-parallel size
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from parallel.spmd import reduce
from parallel.spmd.mesh import REPLICA_AXES, num_rings
from stepjax.model import step_audio
from stepjax.model.step_audio import ModelConfig
from stepjax.train import optimizer
from stepjax.train.microbatches import num_slots
from stepjax.train.objective import KINDS
from stepjax.train.optimizer import OptimizerConfig
from stepjax.train.sharding import specs
from stepjax.train.step import (
    add_up,
    global_norm,
    group_of,
    largest_over_mesh,
    over_replicas,
    sum_over_mesh,
    tree_of,
    whole_over_fsdp,
)

GRADIENTS, UPDATE = "gradients", "update"
AHEAD = (GRADIENTS, UPDATE)  # that a mesh needs at once


class State(NamedTuple):
    """All that a step changes: parameters, optimizer state, exponents of the gradient sums [N], and
    how many steps were skipped so far, in all and in a row [2].

    The counts are here, and not in the process that trains, so that whoever has the state decides
    alike: every node, also one that has just come, and a process that resumes the run.
    """

    params: Any
    optimizer: Any
    exponents: Any
    skipped: Any


@dataclasses.dataclass(frozen=True)
class Programs:
    """The device programs of one model and optimizer, for any mesh.

    Args:
      graph: the model's structure (`nnx.split`).
      params: its parameters, as ShapeDtypeStructs.
      optimizer: an elementwise optax transformation.
      clip: largest norm of the gradient that enters the optimizer.
      fsdp: configured size of the fsdp axis; a mesh may have any divisor of it.
    """

    graph: Any
    params: Any
    optimizer: optax.GradientTransformation
    clip: float
    fsdp: int

    @functools.cached_property
    def shapes(self) -> State:
        """Global shapes of the state."""
        exponents = jax.ShapeDtypeStruct((len(jax.tree.leaves(self.params)),), jnp.int32)
        skipped = jax.ShapeDtypeStruct((2,), jnp.int32)
        return State(
            self.params, jax.eval_shape(self.optimizer.init, self.params), exponents, skipped
        )

    def partition(self) -> State:
        """PartitionSpecs of the state."""
        params = specs(self.params, self.fsdp)
        state = optax.tree_map_params(
            self.optimizer,
            lambda _, p: p,
            self.shapes.optimizer,
            params,
            transform_non_params=lambda _: P(),
        )
        return State(params, state, P(), P())

    def shardings(self, mesh: Mesh) -> State:
        """NamedShardings of the state on a mesh."""
        return jax.tree.map(
            lambda p: NamedSharding(mesh, p), self.partition(), is_leaf=lambda x: isinstance(x, P)
        )

    def shaped(self, mesh: Mesh) -> State:
        """The state's shapes, laid out on a mesh."""
        return jax.tree.map(
            lambda s, h: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=h),
            self.shapes,
            self.shardings(mesh),
        )

    def gradients(self, mesh: Mesh, batch_shapes: Mapping[str, Any], microbatch: int):
        """The program that communicates and changes nothing, lowered.

        It takes (params, batch, weights, scales, slots), and returns (gradients, largest
        magnitudes, norm, losses [num_rings * slots, R, 2]), the last three whole on every device.

        Args:  batch_shapes: of one global batch's arrays, by name.   microbatch: rows of one.
        """
        partition, group = self.partition().params, group_of(mesh)

        def on_device(params_block, batch, weights, scales, slots):
            whole = whole_over_fsdp(params_block, partition)
            total, largest, losses = add_up(whole, self.graph, batch, weights, scales, slots, group)
            total = sum_over_mesh(total, partition, group.size)
            grads = jax.tree.map(reduce.from_fixed, total, tree_of(scales, total))
            largest = largest_over_mesh(largest, group)
            losses = over_replicas(group.gather(losses[:, None], dim=1))
            return grads, largest, global_norm(grads, partition, group), losses

        program = jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(partition, P(REPLICA_AXES), P(), P(), P()),
            out_specs=(partition, P(), P(), P()),
            # With the check, `jax.grad` would add gradients over the mesh itself: in floats, in
            # every turn of the loop, and not along the rings.
            check_vma=False,
        )
        state, whole = self.shaped(mesh), NamedSharding(mesh, P())
        weights = jax.ShapeDtypeStruct((len(KINDS),), jnp.float32, sharding=whole)
        scales = jax.ShapeDtypeStruct(state.exponents.shape, jnp.float32, sharding=whole)
        count = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
        batch = _in_slots(mesh, batch_shapes, microbatch)
        return jax.jit(program).lower(state.params, batch, weights, scales, count)

    def update(self, mesh: Mesh):
        """((params, optimizer state), gradients, norm) -> (params, optimizer state), elementwise,
        lowered. The first argument is donated.
        """
        partition = self.partition()[:2]

        def on_device(state_block, grads, norm):
            params, opt = state_block
            factor = jnp.minimum(1.0, self.clip / norm)
            grads = jax.tree.map(lambda x: factor * x, grads)
            updates, opt = self.optimizer.update(grads, opt, params)
            return optax.apply_updates(params, updates), opt

        program = jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(partition, partition[0], P()),
            out_specs=partition,
        )
        state = self.shaped(mesh)[:2]
        norm = jax.ShapeDtypeStruct((), jnp.float32, sharding=NamedSharding(mesh, P()))
        return jax.jit(program, donate_argnums=0).lower(state, state[0], norm)


def _in_slots(mesh: Mesh, batch_shapes: Mapping[str, Any], microbatch: int) -> dict[str, Any]:
    """Shapes of a global batch as `in_microbatches` lays it on the rings of a mesh."""
    split = NamedSharding(mesh, P(REPLICA_AXES))
    rows, *_ = next(iter(batch_shapes.values())).shape
    slots = num_slots(rows // microbatch, num_rings(mesh)) * num_rings(mesh)
    return {
        name: jax.ShapeDtypeStruct((slots, microbatch, *s.shape[1:]), s.dtype, sharding=split)
        for name, s in batch_shapes.items()
    }


def model_and_programs(config: ConfigDict, vocabulary: int) -> tuple[Callable[[], State], Programs]:
    """The pure function that makes the state of step 0, and the programs of a config's model."""
    sizes, rates = ModelConfig.of(config.model), OptimizerConfig.of(config.optimizer)
    make = functools.partial(step_audio.make, sizes, vocabulary, config.seed)
    graph, params = nnx.split(nnx.eval_shape(make), nnx.Param)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), nnx.to_pure_dict(params)
    )
    transformation = optimizer.make(rates, config.steps)
    programs = Programs(graph, shapes, transformation, rates.clip, config.mesh.fsdp)

    def make_state() -> State:
        params = nnx.to_pure_dict(nnx.state(make(), nnx.Param))
        exponents = np.zeros(programs.shapes.exponents.shape, np.int32)
        return State(params, transformation.init(params), exponents, np.zeros(2, np.int32))

    return make_state, programs
