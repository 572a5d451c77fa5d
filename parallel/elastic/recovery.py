"""The state on a new mesh, from whatever survived: live shards, and copies that a snapshot kept.

Never touches a shard on a lost device. A box that the new mesh wants where it already lies is taken
over without a copy, one that lies elsewhere is sent, and one that no survivor has as such is
composed on the host.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from parallel.elastic.snapshot import Box, Snapshot, boxes, shards

Pieces = dict[
    Box, dict[jax.Device, jax.Array]
]  # every box that is left, and the devices that hold it


class StateLost(RuntimeError):
    """A part of the state is on no device that is left."""

    def __init__(self, path: str, box: Box):
        self.path, self.box = path, box
        block = ", ".join(f"{start}:{stop}" for start, stop in box)
        super().__init__(
            f"{path}[{block}] is on no node that is left, neither as a replica nor as a copy; "
            "go back to the last checkpoint."
        )


def reassemble(
    tree: Any, shardings: Any, lost: Collection[jax.Device], snapshot: Snapshot | None = None
) -> Any:
    """Builds `tree` anew under `shardings`, a tree of the same structure, without the devices of
    `lost`.

    Needs arrays whose shards are all in reach of this process. Raises StateLost where survivors do
    not cover. The result shares the buffers that did not move with `tree`: donate only one of the
    two.
    """
    pieces = _survivors(tree, lost, snapshot)
    gap = _first_gap(tree, pieces)
    if gap is not None:
        raise StateLost(*gap)
    leaves, structure = jax.tree.flatten(tree)
    wanted = structure.flatten_up_to(shardings)
    return structure.unflatten(map(_rebuild, leaves, wanted, pieces))


def covers(tree: Any, lost: Collection[jax.Device], snapshot: Snapshot | None = None) -> bool:
    """Whether `reassemble` has all it needs."""
    return _first_gap(tree, _survivors(tree, lost, snapshot)) is None


def _survivors(tree: Any, lost: Collection[jax.Device], snapshot: Snapshot | None) -> list[Pieces]:
    leaves = jax.tree.leaves(tree)
    copies = snapshot.copies_of(leaves) if snapshot else [{}] * len(leaves)
    lost = frozenset(lost)
    return [_pieces(leaf, kept, lost) for leaf, kept in zip(leaves, copies, strict=True)]


def _pieces(leaf: jax.Array, kept: Mapping[Box, jax.Array], lost: frozenset[jax.Device]) -> Pieces:
    box_on = boxes(leaf.sharding, leaf.shape)
    blocks = [(box_on[shard.device], shard.device, shard.data) for shard in shards(leaf)]
    blocks += [(box, copy.device, copy) for box, copy in kept.items() if not copy.is_deleted()]
    pieces: Pieces = {}
    for box, device, data in blocks:
        # A node that went and came back stands among the living with its memory empty.
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
    blocks, composed = [], {}
    for device, box in boxes(sharding, leaf.shape).items():
        if box in pieces:
            block = pieces[box].get(device)
            source = next(iter(pieces[box].values())) if block is None else block
        else:
            if box not in composed:
                composed[box] = _compose(box, pieces, leaf.dtype)
            block, source = None, composed[box]
        blocks.append(jax.device_put(source, device) if block is None else block)
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, blocks)


def _compose(box: Box, pieces: Pieces, dtype: np.dtype) -> np.ndarray:
    """The block at `box`, from the parts of it that other boxes hold (those are disjoint)."""
    block = np.empty([stop - start for start, stop in box], dtype)
    for other, held in pieces.items():
        overlap = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, other, strict=True)]
        if all(start < stop for start, stop in overlap):
            block[_inside(overlap, box)] = np.asarray(next(iter(held.values())))[
                _inside(overlap, other)
            ]
    return block


def _inside(overlap: Collection[tuple[int, int]], box: Box) -> tuple[slice, ...]:
    """`overlap` in coordinates of the block at `box`."""
    return tuple(
        slice(start - origin, stop - origin)
        for (start, stop), (origin, _) in zip(overlap, box, strict=True)
    )
