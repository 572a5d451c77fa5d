"""What a training step computes, written for one device of the mesh (inside `shard_map`).

A global batch is M microbatches of b rows. Every ring computes whole microbatches, one after
another, by the same loop, whose length enters as a number. Their gradients are added as integers.
Hence the result has the same bits on any number of rings: see `parallel.spmd.reduce`.

  M microbatches   b rows of one   N parameters   R tensor-parallel size
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from parallel.spmd import reduce, ring
from parallel.spmd.mesh import DATA, FSDP, REPLICA_AXES, TENSOR
from stepjax.model.group import Alone, Group
from stepjax.model.step_audio import Inputs
from stepjax.train.objective import cross_entropy, sums_by_kind
from stepjax.train.sharding import dim_of


def trained_on(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Those arrays of a batch that the programs read: the model's inputs and the loss's targets."""
    return {name: arrays[name] for name in (*Inputs._fields, "targets", "kind")}


def group_of(mesh: Mesh) -> Group:
    """The tensor-parallel group of a mesh, as the model sees it."""
    size = mesh.shape[TENSOR]
    return ring.Ring(TENSOR, size) if size > 1 else Alone()


def whole_over_fsdp(params, partition):
    """Parameters with their fsdp parts gathered; for use inside shard_map."""
    if jax.lax.axis_size(FSDP) == 1:
        return params  # XLA would copy every parameter to gather it from one device

    def gather(x, p):
        dim = dim_of(FSDP, p)
        return x if dim is None else jax.lax.all_gather(x, FSDP, axis=dim, tiled=True)

    return jax.tree.map(gather, params, partition)


def over_replicas(x_block):
    """The parts of all rings one after another, on every device; for use inside shard_map."""
    if jax.lax.axis_size(REPLICA_AXES) == 1:
        return x_block
    return jax.lax.all_gather(x_block, REPLICA_AXES, tiled=True)


def microbatch_loss(params, graph, micro, weights, group: Group):
    """The weighted sum of this device's token losses, and their plain sums by kind [2]."""
    logits = nnx.merge(graph, params)(Inputs.of(micro), group)
    nll_Bl = cross_entropy(logits, micro["targets"], group)
    sums = sums_by_kind(nll_Bl, micro["kind"], group).sum(axis=0)
    return jnp.dot(weights, sums), sums


def add_up(params, graph, batch, weights, scales, slots, group: Group):
    """Gradients of this ring's microbatches, in integers.

    Args:
      batch: arrays [slots, b, ...]; unused slots hold zeros, which have no loss and no gradient.
      weights: weight of a token of each kind [2].
      scales: of every parameter's integers [N].
      slots: how many microbatches, as an array: the loop must not be unrolled for any particular
        number.
    Returns: tree of int32 sums, largest magnitudes [N], sums of losses [slots, 2].
    """
    scale_of = tree_of(scales, params)

    def body(slot, carry):
        total, largest, losses = carry
        micro = {name: x[slot] for name, x in batch.items()}
        (_, sums), grads = jax.value_and_grad(microbatch_loss, has_aux=True)(
            params, graph, micro, weights, group
        )
        total = jax.tree.map(lambda t, g, s: t + reduce.to_fixed(g, s), total, grads, scale_of)
        here = jnp.stack([jnp.abs(g).max() for g in jax.tree.leaves(grads)])
        return total, jnp.maximum(largest, here), losses.at[slot].set(sums)

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.int32), params)
    losses = jnp.zeros((batch["tokens"].shape[0], len(weights)), jnp.float32)
    return jax.lax.fori_loop(0, slots, body, (zeros, jnp.zeros(scales.shape), losses))


def tree_of(numbers_N, like):
    """N numbers as a tree of the structure of `like`."""
    return jax.tree.unflatten(jax.tree.structure(like), list(numbers_N))


def sum_over_mesh(total, partition, ring_size: int):
    """Integer sums over all rings, each device keeping its own part.

    Parameters that every device of a ring holds whole got a gradient from each device's stretch of
    the sequence: these are first added around the ring, all in one flat vector.
    """
    leaves, tree = jax.tree.flatten(total)
    parts = jax.tree.leaves(partition, is_leaf=lambda x: isinstance(x, P))
    shared = [i for i, p in enumerate(parts) if dim_of(TENSOR, p) is None]
    if ring_size > 1:
        flat = ring.all_reduce(jnp.concatenate([leaves[i].ravel() for i in shared]), TENSOR)
        cuts = [sum(leaves[i].size for i in shared[:k]) for k in range(1, len(shared))]
        for i, x in zip(shared, jnp.split(flat, cuts), strict=True):
            leaves[i] = x.reshape(leaves[i].shape)

    if jax.lax.axis_size(REPLICA_AXES) == 1:
        return tree.unflatten(leaves)  # XLA would copy every sum to add it over one device

    def add(x, p):
        dim = dim_of(FSDP, p)
        if dim is None:
            return jax.lax.psum(x, REPLICA_AXES)
        x = jax.lax.psum(x, DATA)
        return jax.lax.psum_scatter(x, FSDP, scatter_dimension=dim, tiled=True)

    return tree.unflatten([add(x, p) for x, p in zip(leaves, parts, strict=True)])


def largest_over_mesh(largest_N, group: Group):
    """The largest magnitudes among those of all devices; infinite where one has a NaN."""
    # A maximum over CPU devices leaves out what is NaN.
    largest_N = jnp.where(jnp.isnan(largest_N), jnp.inf, largest_N)
    return jax.lax.pmax(group.gather(largest_N[None], dim=0).max(axis=0), REPLICA_AXES)


def global_norm(grads, partition, group: Group):
    """Euclidean norm of the gradient; its bits depend on the ring size only.

    Sums of squares are taken over the dimensions that fsdp does not split, then gathered, then
    added whole.
    """

    def squares(x, p):
        x = jnp.square(x)
        dim = dim_of(FSDP, p)
        if dim is not None:
            x = x.sum(axis=tuple(d for d in range(x.ndim) if d != dim))
            x = jax.lax.all_gather(x, FSDP, tiled=True)
        return x.sum()

    parts = jax.tree.leaves(partition, is_leaf=lambda x: isinstance(x, P))
    here = jnp.stack([squares(x, p) for x, p in zip(jax.tree.leaves(grads), parts, strict=True)])
    split = jnp.array([dim_of(TENSOR, p) is not None for p in parts])
    here = jnp.where(split | (group.rank() == 0), here, 0)  # what all devices hold counts once
    return jnp.sqrt(group.gather(here[None], dim=0).sum(axis=0).sum())
