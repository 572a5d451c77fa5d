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
    """The shards of `leaf`, deleted or not, even where JAX calls the whole array deleted.

    JAX does so once the shard of the array's first device is deleted. The other shards still exist,
    in the list that JAX cached when `addressable_shards` was first read. A deleted array without
    that list, such as a donated one, has no shards.
    """
    cached: Sequence[jax.Shard] | None = vars(leaf).get("addressable_shards")
    if cached is None:
        return [] if leaf.is_deleted() else leaf.addressable_shards
    return cached


def holders(leaf: jax.Array) -> dict[Box, list[jax.Device]]:
    """The devices that hold each box of `leaf`."""
    found: dict[Box, list[jax.Device]] = {}
    for device, box in boxes(leaf.sharding, leaf.shape).items():
        found.setdefault(box, []).append(device)
    return found


def replicas(tree: Any, node_of_device: Callable[[jax.Device], int]) -> int:
    """The least number of distinct nodes that hold the same box, over all boxes of all leaves.

    With 2 or more, every box survives the loss of any one node.
    """
    return min(
        len(set(map(node_of_device, devices)))
        for leaf in jax.tree.leaves(tree)
        for devices in holders(leaf).values()
    )


def keepers(groups: Sequence[Sequence[int]]) -> dict[int, int]:
    """The keeper of each node: ring neighbours keep for each other in pairs, one hop apart.

    The keeper of an unpaired last node is the one before it, that of a ring of one node is the
    first node of the next ring. A node that is alone has no keeper.

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

    A snapshot has weak references to the arrays that it was taken of, and is refused for others:
    shards of one step completed with copies of another would be a state of no step.
    """

    step: int
    copies: tuple[dict[Box, jax.Array], ...]  # one dict for every leaf
    leaves: tuple[weakref.ref[jax.Array], ...]

    def copies_of(self, leaves: Sequence[jax.Array]) -> tuple[dict[Box, jax.Array], ...]:
        """The copies, one dict for each of `leaves`, which must be the arrays they are of."""
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
    """Copies every box that only one node holds to the same GPU of that node's keeper.

    Starts the copies and does not wait for them. Cost: one send of the unreplicated state; nothing
    where replicas exist.
    """
    place = {
        device: (node, gpu) for node, gpus in devices.items() for gpu, device in enumerate(gpus)
    }
    leaves = jax.tree.leaves(tree)
    sources: list[jax.Array] = []
    targets: list[jax.Device] = []
    labels: list[tuple[int, Box]] = []
    for at, leaf in enumerate(leaves):
        shard_on: dict[jax.Device, jax.Array] = {}
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
