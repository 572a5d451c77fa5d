"""Copies of the state on a ring neighbour, where no live replica holds it.

A shard is the block of an array that one device holds; its box says which block that is:
the (start, stop) of every dimension. Shards with equal boxes are replicas of each other.
"""

import dataclasses
import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

Box = tuple[tuple[int, int], ...]


@functools.lru_cache(maxsize=1024)
def boxes(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> dict[jax.Device, Box]:
    """The box that each device holds of an array of this shape."""
    return {
        device: tuple(side.indices(size)[:2] for side, size in zip(index, shape, strict=True))
        for device, index in sharding.devices_indices_map(shape).items()
    }


def shards(leaf: jax.Array) -> Sequence[jax.Shard]:
    """The shards of `leaf`, deleted or not, even where jax gives up the array as a whole.

    It does so when the shard of an array's first device is deleted, although the others live on: in
    the list that jax made when somebody first asked for it. No list, and deleted (as donated arrays
    are): no shards.
    """
    made = vars(leaf).get("addressable_shards")
    if made is None:
        return [] if leaf.is_deleted() else leaf.addressable_shards
    return made


def holders(leaf: jax.Array) -> dict[Box, list[jax.Device]]:
    """The devices that hold each box of `leaf`."""
    found: dict[Box, list[jax.Device]] = {}
    for device, box in boxes(leaf.sharding, leaf.shape).items():
        found.setdefault(box, []).append(device)
    return found


def replicas(tree: Any, node_of_device: Callable[[jax.Device], int]) -> int:
    """The least number of distinct nodes that hold any one box of any leaf: 2 or more outlive every
    node.
    """
    return min(
        len(set(map(node_of_device, devices)))
        for leaf in jax.tree.leaves(tree)
        for devices in holders(leaf).values()
    )


def keepers(groups: Sequence[Sequence[int]]) -> dict[int, int]:
    """Who keeps whose state: neighbours on a ring in pairs, so that the copy travels one hop.

    An unpaired last node gives to its previous one, a ring of one node to the first node of the
    next ring, and a node that is alone in the world has no keeper.

    >>> keepers([(0, 1, 3), (4,)])
    {0: 1, 1: 0, 3: 1, 4: 0}
    """
    found = {}
    for ring, next_ring in zip(groups, [*groups[1:], *groups[:1]], strict=True):
        for at, node in enumerate(ring):
            if len(ring) == 1:
                keeper = next_ring[0]
            else:
                keeper = ring[at + 1] if at % 2 == 0 and at + 1 < len(ring) else ring[at - 1]
            if keeper != node:
                found[node] = keeper
    return found


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Copies of the boxes that only one node held, of one tree at one step.

    It remembers the very arrays it was taken of (without keeping them alive) and serves no others:
    the shards of one step completed with copies of another would be a state that never was.
    """

    step: int
    copies: tuple[dict[Box, jax.Array], ...]  # one dict for every leaf
    leaves: tuple[weakref.ref, ...]

    def copies_of(self, leaves: Sequence[jax.Array]) -> tuple[dict[Box, jax.Array], ...]:
        same = len(leaves) == len(self.leaves) and all(
            ref() is leaf for ref, leaf in zip(self.leaves, leaves, strict=True)
        )
        assert same, (
            f"the snapshot of step {self.step} was taken of other arrays; keep one of this tree."
        )
        return self.copies


def keep(
    tree: Any, keeper_of: Mapping[int, int], devices: Mapping[int, Sequence[jax.Device]], step: int
) -> Snapshot:
    """Copies every box that lives on one node only to that node's keeper, to the GPU of the same
    number.

    Starts the copies and does not wait for them. Cost: one send of the unreplicated state, nothing
    where replicas exist.
    """
    place = {
        device: (node, gpu) for node, gpus in devices.items() for gpu, device in enumerate(gpus)
    }
    leaves = jax.tree.leaves(tree)
    sources, targets, labels = [], [], []
    for at, leaf in enumerate(leaves):
        shard_on = None
        for box, held_by in holders(leaf).items():
            node, gpu = place[held_by[0]]
            if node not in keeper_of or any(place[device][0] != node for device in held_by):
                continue
            shard_on = shard_on or {shard.device: shard.data for shard in shards(leaf)}
            sources.append(shard_on[held_by[0]])
            targets.append(devices[keeper_of[node]][gpu])
            labels.append((at, box))
    copies: tuple[dict[Box, jax.Array], ...] = tuple({} for _ in leaves)
    for (at, box), copy in zip(labels, jax.device_put(sources, targets), strict=True):
        copies[at][box] = copy
    return Snapshot(step, copies, tuple(map(weakref.ref, leaves)))
