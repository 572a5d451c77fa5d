"""The state on a new mesh, from what survived: live shards, and the copies of a snapshot.

Shards on lost devices are never read. A box that already lies where the new mesh wants it is reused
without a copy, one that lies elsewhere is sent, and one that no survivor holds as such is composed
on the host.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from parallel.elastic.snapshot import Box, Snapshot, boxes, shards

# Of one leaf: every box that is left, and its block on each device that holds it.
Pieces = dict[Box, dict[jax.Device, jax.Array]]


class StateLost(RuntimeError):
    """No device that is left holds some part of the state."""

    def __init__(self, path: str, box: Box):
        self.path, self.box = path, box
        block = ", ".join(f"{start}:{stop}" for start, stop in box)
        super().__init__(
            f"{path}[{block}] is on no node that is left, neither as a replica nor as a copy; "
            "go back to the last checkpoint."
        )


def reassemble(
    tree: Any,
    shardings: Any,
    lost_devices: Collection[jax.Device],
    snapshot: Snapshot | None = None,
) -> Any:
    """Builds `tree` anew under `shardings`, reading nothing from `lost_devices`.

    All shards of its arrays must be in reach of this process. The result shares the buffers that
    did not move with `tree`: donate only one of the two.

    Args:    shardings: a tree of the same structure.
    Raises:  StateLost if the survivors do not hold all of it.
    """
    pieces = _survivors(tree, lost_devices, snapshot)
    gap = _first_gap(tree, pieces)
    if gap is not None:
        raise StateLost(*gap)
    of_leaf = jax.tree.unflatten(jax.tree.structure(tree), pieces)
    return jax.tree.map(_rebuild, tree, shardings, of_leaf)


def covers(
    tree: Any, lost_devices: Collection[jax.Device], snapshot: Snapshot | None = None
) -> bool:
    """Whether `reassemble` would find every part."""
    return _first_gap(tree, _survivors(tree, lost_devices, snapshot)) is None


def _survivors(
    tree: Any, lost_devices: Collection[jax.Device], snapshot: Snapshot | None
) -> list[Pieces]:
    leaves, lost = jax.tree.leaves(tree), frozenset(lost_devices)
    copies = snapshot.copies_of(leaves) if snapshot else ({},) * len(leaves)
    return [_pieces(leaf, kept, lost) for leaf, kept in zip(leaves, copies, strict=True)]


def _pieces(leaf: jax.Array, kept: Mapping[Box, jax.Array], lost: frozenset[jax.Device]) -> Pieces:
    box_on = boxes(leaf.sharding, leaf.shape)
    blocks = [(box_on[shard.device], shard.device, shard.data) for shard in shards(leaf)]
    blocks += [(box, copy.device, copy) for box, copy in kept.items() if not copy.is_deleted()]
    pieces: Pieces = {}
    for box, device, data in blocks:
        # A node that was lost and came back is alive, but its shards are deleted.
        if device not in lost and not data.is_deleted():
            pieces.setdefault(box, {})[device] = data
    return pieces


def _first_gap(tree: Any, pieces: list[Pieces]) -> tuple[str, Box] | None:
    for (path, leaf), found in zip(jax.tree_util.tree_leaves_with_path(tree), pieces, strict=True):
        for box in boxes(leaf.sharding, leaf.shape).values():
            if box not in found:
                return jax.tree_util.keystr(path), box
    return None


def _rebuild(leaf: jax.Array, sharding: jax.sharding.Sharding, pieces: Pieces) -> jax.Array:
    composed: dict[Box, np.ndarray] = {}
    blocks = []
    for device, box in boxes(sharding, leaf.shape).items():
        held = pieces.get(box, {})
        if device in held:
            block = held[device]
        elif held:
            block = jax.device_put(next(iter(held.values())), device)
        else:
            if box not in composed:
                composed[box] = _compose(box, pieces, leaf.dtype)
            block = jax.device_put(composed[box], device)
        blocks.append(block)
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, blocks)


def _compose(box: Box, pieces: Pieces, dtype: np.dtype) -> np.ndarray:
    """The block at `box`, from the other boxes that overlap it (these are disjoint)."""
    block = np.empty([stop - start for start, stop in box], dtype)
    for other, held in pieces.items():
        overlap = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, other, strict=True)]
        if all(start < stop for start, stop in overlap):
            source = np.asarray(next(iter(held.values())))
            block[_inside(overlap, box)] = source[_inside(overlap, other)]
    return block


def _inside(overlap: Collection[tuple[int, int]], box: Box) -> tuple[slice, ...]:
    """`overlap` in coordinates of the block at `box`."""
    return tuple(
        slice(start - origin, stop - origin)
        for (start, stop), (origin, _) in zip(overlap, box, strict=True)
    )
