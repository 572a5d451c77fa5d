"""The state on a new mesh, from what survived: live shards, and the copies of a snapshot.

Shards on lost devices are never read. A box that already lies where the new mesh wants it is reused
without a copy, one that lies elsewhere is sent, and one that no survivor holds as such is composed
on the host.
"""

import math
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
            _, gap = cover(box, found)
            if gap is not None:
                return jax.tree_util.keystr(path), gap
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
                parts, _ = cover(box, pieces)
                found = {part: next(iter(pieces[part].values())) for part in parts}
                composed[box] = compose(box, found, leaf.dtype)
            block = jax.device_put(composed[box], device)
        blocks.append(block)
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, blocks)


def cover(box: Box, held: Collection[Box]) -> tuple[list[Box], Box | None]:
    """The boxes among `held` that together make up `box`, and a part of it that none of them has.

    `box` itself is enough where it is held; else the earlier of two boxes that overlap is taken.
    An empty box needs no others. The part is None where nothing is missing.

    >>> cover(((2, 6),), [((0, 3),), ((3, 5),), ((6, 8),)])
    ([((0, 3),), ((3, 5),)], ((5, 6),))
    """
    if box in held:
        return [box], None
    used, left = [], [box] if _volume(box) else []
    for other in held:
        if not _volume(overlap_of(box, other)):
            continue
        rest = [part for old in left for part in _without(old, other)]
        if rest != left:
            used.append(other)
            left = rest
        if not left:
            break
    return used, left[0] if left else None


def compose(box: Box, blocks: Mapping[Box, Any], dtype: np.dtype) -> np.ndarray:
    """The block at `box` on the host, from blocks that cover it; no copy of one that is it."""
    if box in blocks:
        return np.asarray(blocks[box])
    block = np.empty([stop - start for start, stop in box], dtype)
    for other, data in blocks.items():
        overlap = overlap_of(box, other)
        if _volume(overlap):
            block[_inside(overlap, box)] = np.asarray(data)[_inside(overlap, other)]
    return block


def overlap_of(box: Box, other: Box) -> Box:
    """What two boxes share; a side stops at its start or before it where they share nothing."""
    return tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, other, strict=True))


def _volume(box: Box) -> int:
    return math.prod(max(stop - start, 0) for start, stop in box)


def _without(box: Box, other: Box) -> list[Box]:
    """`box` less `other`, as disjoint boxes: what is before and after it in every dimension."""
    overlap = overlap_of(box, other)
    if not _volume(overlap):
        return [box]
    rest = []
    for dim, ((start, stop), (first, last)) in enumerate(zip(box, overlap, strict=True)):
        for side in ((start, first), (last, stop)):
            if side[0] < side[1]:
                rest.append((*overlap[:dim], side, *box[dim + 1 :]))
    return rest


def _inside(overlap: Box, box: Box) -> tuple[slice, ...]:
    """`overlap` in coordinates of the block at `box`."""
    return tuple(
        slice(start - origin, stop - origin)
        for (start, stop), (origin, _) in zip(overlap, box, strict=True)
    )
