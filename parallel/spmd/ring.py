"""Ring collectives made of one-hop sends, for use inside `jax.shard_map`.

A tensor- or expert-parallel group lies on a ring of optical circuits, so a device has a live link
to its two ring neighbours only. Every collective here is a chain of `ppermute`s from each device to
the next, and has a plain NumPy twin that the tests compare it with.

  R ring size   x_block a device's part of an array
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def send_to_next(x_block: jax.Array, axis: str) -> jax.Array:
    """Every device's block moves one hop along the ring."""
    size = jax.lax.axis_size(axis)
    sent: jax.Array = jax.lax.ppermute(x_block, axis, [(i, (i + 1) % size) for i in range(size)])
    return sent


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def all_gather(x_block: jax.Array, axis: str, dim: int) -> jax.Array:
    """Concatenates the blocks of all devices along `dim`, in ring order, on every device.

    Takes R - 1 hops; each hop sends one block. The gradient is `reduce_scatter`.

    Args:    x_block: [..., n, ...]   axis: mesh axis that forms the ring   dim: the one that grows
    Returns: [..., R n, ...]
    """
    size, rank = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
    rows = x_block.shape[dim]
    shape = list(x_block.shape)
    shape[dim] *= size
    out = jax.lax.dynamic_update_slice_in_dim(
        jnp.zeros(shape, x_block.dtype), x_block, rank * rows, dim
    )
    for hop in range(1, size):
        x_block = send_to_next(x_block, axis)
        out = jax.lax.dynamic_update_slice_in_dim(out, x_block, (rank - hop) % size * rows, dim)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def reduce_scatter(x: jax.Array, axis: str, dim: int) -> jax.Array:
    """Sums `x` over the ring and keeps this device's slice along `dim`.

    Takes R - 1 hops; each hop sends 1/R of `x`. The slice of device r is summed in the order r + 1,
    r + 2, ..., r, so its bits depend on the ring size only. The gradient is `all_gather`.

    Args:    x: [..., R n, ...]   axis: mesh axis that forms the ring   dim: the one that shrinks
    Returns: [..., n, ...]
    """
    size, rank = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
    if x.shape[dim] % size:
        raise ValueError(
            f"reduce_scatter: {x.shape[dim]} rows cannot be split over {size} devices of {axis!r}; "
            f"pad to {-(-x.shape[dim] // size) * size}."
        )
    rows = x.shape[dim] // size

    def block_for(hop: int) -> jax.Array:
        """The block of the device that is `hop` hops from here."""
        return jax.lax.dynamic_slice_in_dim(x, (rank + hop) % size * rows, rows, dim)

    total = block_for(size - 1)
    for hop in range(size - 2, -1, -1):
        total = send_to_next(total, axis) + block_for(hop)
    return total


all_gather.defvjp(
    lambda x_block, axis, dim: (all_gather(x_block, axis, dim), None),
    lambda axis, dim, _, grad: (reduce_scatter(grad, axis, dim),),
)
reduce_scatter.defvjp(
    lambda x, axis, dim: (reduce_scatter(x, axis, dim), None),
    lambda axis, dim, _, grad: (all_gather(grad, axis, dim),),
)


def all_reduce(x: jax.Array, axis: str) -> jax.Array:
    """Sums `x` over the ring, with the same bits on every device.

    Takes 2 (R - 1) hops; each hop sends 1/R of `x`.
    """
    size = jax.lax.axis_size(axis)
    flat = jnp.pad(x.ravel(), (0, -x.size % size))
    return all_gather(reduce_scatter(flat, axis, 0), axis, 0)[: x.size].reshape(x.shape)


def all_gather_ref(blocks: Sequence[np.ndarray], dim: int) -> list[np.ndarray]:
    """What `all_gather` leaves on each device of the ring."""
    return [np.concatenate(blocks, axis=dim)] * len(blocks)


def reduce_scatter_ref(xs: Sequence[np.ndarray], dim: int) -> list[np.ndarray]:
    """What `reduce_scatter` leaves on each device, added in the same order."""
    size = len(xs)
    parts = [np.split(x, size, axis=dim) for x in xs]
    return [
        functools.reduce(np.add, [parts[(home + 1 + k) % size][home] for k in range(size)])
        for home in range(size)
    ]


def all_reduce_ref(xs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What `all_reduce` leaves on each device, added in the same order."""
    size = len(xs)
    flat = [np.pad(x.ravel(), (0, -x.size % size)) for x in xs]
    total = np.concatenate(reduce_scatter_ref(flat, 0))[: xs[0].size].reshape(xs[0].shape)
    return [total] * size


@dataclasses.dataclass(frozen=True)
class Ring:
    """The communication that a tensor-parallel layer needs, on the ring of mesh axis `axis`.

    Layers keep activations split along the sequence: they gather it before a column-parallel
    product and scatter the sum after a row-parallel one (Korthikanti et al. 2022, section 4.2.2).
    """

    axis: str
    size: int

    def rank(self) -> jax.Array:
        """This device's position on the ring."""
        return jax.lax.axis_index(self.axis)

    def gather(self, x_block: jax.Array, dim: int) -> jax.Array:
        """[..., n, ...] -> [..., R n, ...]: every device sees the whole dimension."""
        return all_gather(x_block, self.axis, dim)

    def scatter_sum(self, x: jax.Array, dim: int) -> jax.Array:
        """[..., R n, ...] -> [..., n, ...]: the sum over devices, each keeping its own slice."""
        return reduce_scatter(x, self.axis, dim)
