"""The blocks of a state in host memory, and the state rebuilt from those of all processes.

A process reads only its own devices. What it needs beyond them it fetches from a peer that holds
the block, or composes from several.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from parallel.elastic.recovery import StateLost, compose, cover, overlap_of
from parallel.elastic.snapshot import Box, boxes

Catalog = tuple[tuple[Box, ...], ...]  # the boxes of every leaf
Part = tuple[int, Box]  # a box of the leaf with this index
Wanted = tuple[str, int, Box]  # a part, and the name that a peer offers it under


class Peer(NamedTuple):
    """A node, and where its server listens."""

    node: int
    address: tuple[str, int]

    def __str__(self) -> str:
        return f"node {self.node} at {self.address[0]}:{self.address[1]}"


# Of every part: who holds it, and under which name.
Holders = Mapping[Part, Sequence[tuple[Peer, str]]]
Fetch = Callable[[Peer, int, Sequence[Wanted]], Sequence[np.ndarray]]


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of one tree at one step, in host memory; one dict for every leaf."""

    step: int
    leaves: tuple[dict[Box, np.ndarray], ...]

    @classmethod
    def take(cls, step: int, tree: Any, devices: Collection[jax.Device] | None = None) -> "Blocks":
        """Copies the shards of `tree` on `devices` (by default all that this process reaches).

        Replicas are copied once. All copies are started before the first is awaited.
        """
        found: list[dict[Box, jax.Array]] = []
        for leaf in jax.tree.leaves(tree):
            box_on = boxes(leaf.sharding, leaf.shape)
            found.append({})
            for shard in leaf.addressable_shards:
                if devices is None or shard.device in devices:
                    found[-1].setdefault(box_on[shard.device], shard.data)
        for shards in found:
            for data in shards.values():
                data.copy_to_host_async()
        return cls(
            step,
            tuple({box: _host_copy(data) for box, data in shards.items()} for shards in found),
        )

    @classmethod
    def of(cls, step: int, tree: Any) -> "Blocks":
        """All of a tree that is in host memory."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
        return cls(step, tuple({_all_of(leaf): leaf} for leaf in leaves))

    def find(self, leaf: int, box: Box) -> np.ndarray | None:
        """The block at `box`, composed if it is not held as such; None if some of it is missing."""
        held = self.leaves[leaf] if leaf < len(self.leaves) else {}
        parts, gap = cover(box, held)
        if gap is not None or not parts:
            return None
        return compose(box, {part: held[part] for part in parts}, held[parts[0]].dtype)

    def catalog(self) -> Catalog:
        """The boxes alone, for the peers to know what is here."""
        return tuple(tuple(blocks) for blocks in self.leaves)


def _host_copy(data: jax.Array) -> np.ndarray:
    block = np.array(np.asarray(data), order="C", copy=True)  # on CPUs asarray is only a view
    block.setflags(write=False)  # JAX may use it as the memory of an array on a CPU
    return block


def holders(
    step: int,
    offered: Mapping[int, tuple[tuple[str, int], Mapping[str, tuple[int, Catalog]]]],
) -> Holders:
    """Who holds each part of the state at `step`: the same for all nodes that know the same offers.

    Args:    offered: of each node its address, and the step and catalog under each name.
    """
    found: dict[Part, list[tuple[Peer, str]]] = {}
    for node, (address, names) in sorted(offered.items()):
        for name, (of_step, catalog) in sorted(names.items()):
            for leaf, held in enumerate(catalog) if of_step == step else ():
                for box in held:
                    found.setdefault((leaf, box), []).append((Peer(node, address), name))
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Scattered:
    """The state at one step as it lies on all nodes, seen from one of them.

    Args:    shapes: a tree of what has a shape and a dtype.
             own: the blocks that this node has; those of other steps are ignored.
             holders: of the nodes alive, this one among them.   fetch: asks one peer.
    All methods look for all of the state first, whatever is wanted of it: nodes that know the same
    holders fail alike. Every peer is asked once, all at the same time, and of what several hold
    each gets a share. Of a block that is larger than what is wanted only that part is fetched.
    Raises:  StateLost if no one holds some part, and what `fetch` raises.
    """

    step: int
    shapes: Any
    own: Collection[Blocks]
    holders: Holders
    fetch: Fetch
    node: int

    def rebuild(self, shardings: Any) -> Any:
        """The tree under `shardings`, one for each leaf: this process's part of every array.

        On CPUs the arrays may share memory with `own`, which is read-only therefore.
        """
        leaves, structure = jax.tree.flatten(self.shapes)
        targets = jax.tree.leaves(shardings)
        wanted = [
            {
                device: box
                for device, box in boxes(sharding, leaf.shape).items()
                if device in sharding.addressable_devices
            }
            for leaf, sharding in zip(leaves, targets, strict=True)
        ]
        found = self.gather([box_on.values() for box_on in wanted]).leaves
        arrays = [
            jax.make_array_from_single_device_arrays(
                leaf.shape,
                sharding,
                jax.device_put([blocks[box] for box in box_on.values()], list(box_on)),
                dtype=leaf.dtype,
            )
            for leaf, sharding, box_on, blocks in zip(leaves, targets, wanted, found, strict=True)
        ]
        return jax.tree.unflatten(structure, arrays)

    def whole(self) -> Any:
        """All of the state in host memory, as a tree of NumPy arrays to be read only."""
        leaves, structure = jax.tree.flatten(self.shapes)
        wanted = [_all_of(leaf) for leaf in leaves]
        found = self.gather([[box] for box in wanted]).leaves
        return jax.tree.unflatten(
            structure, [blocks[box] for blocks, box in zip(found, wanted, strict=True)]
        )

    def gather(self, wanted: Sequence[Collection[Box]]) -> Blocks:
        """The wanted boxes of every leaf."""
        leaves = jax.tree.leaves(self.shapes)
        blocks = self._own_blocks(len(leaves))
        plans = self._plans(blocks, wanted)
        missing = {
            (leaf, part): (leaf, source)
            for leaf, plan in enumerate(plans)
            for parts in plan.values()
            for part, source in parts.items()
            if source not in blocks[leaf]
        }
        for (leaf, part), block in self._fetch(missing).items():
            if block.dtype != leaves[leaf].dtype:
                raise ValueError(
                    f"leaf {leaf} is {leaves[leaf].dtype} here and {block.dtype} at a peer: "
                    "all nodes must train the same model."
                )
            block.setflags(write=False)
            blocks[leaf][part] = block
        return Blocks(
            self.step,
            tuple(
                {
                    box: compose(box, {part: found[part] for part in parts}, leaf.dtype)
                    for box, parts in plan.items()
                }
                for leaf, found, plan in zip(leaves, blocks, plans, strict=True)
            ),
        )

    def _own_blocks(self, leaves: int) -> list[dict[Box, np.ndarray]]:
        blocks: list[dict[Box, np.ndarray]] = [{} for _ in range(leaves)]
        for own in self.own:
            if own.step == self.step:
                for found, more in zip(blocks, own.leaves, strict=True):
                    found.update(more)
        return blocks

    def _plans(
        self, own: Sequence[Collection[Box]], wanted: Sequence[Collection[Box]]
    ) -> list[dict[Box, dict[Box, Box]]]:
        """Of each leaf and wanted box: the parts to make it of, each with the held box it is from.

        A box of this node's own is used before those of others, and as it is.
        """
        held = [dict.fromkeys(found) for found in own]
        for leaf, box in self.holders:
            held[leaf][box] = None
        leaves = jax.tree_util.tree_leaves_with_path(self.shapes)
        for (path, leaf), found in zip(leaves, held, strict=True):
            _, gap = cover(_all_of(leaf), dict.fromkeys(sorted(found)))
            if gap is not None:
                raise StateLost(jax.tree_util.keystr(path), gap)
        return [
            {
                box: {
                    source if source in mine else overlap_of(box, source): source
                    for source in cover(box, found)[0]
                }
                for box in at
            }
            for at, found, mine in zip(wanted, held, own, strict=True)
        ]

    def _fetch(self, parts: Mapping[Part, Part]) -> dict[Part, np.ndarray]:
        """Each part, of which the part that holds it is given, from one of its holders.

        Nodes start at different holders, and take turns.
        """
        asked: dict[Peer, list[Wanted]] = {}
        for turn, (part, source) in enumerate(parts.items()):
            candidates = self.holders[source]
            peer, name = candidates[(self.node + turn) % len(candidates)]
            asked.setdefault(peer, []).append((name, *part))
        if not asked:
            return {}
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = pool.map(lambda ask: self.fetch(ask[0], self.step, ask[1]), asked.items())
            return {
                (leaf, box): block
                for wanted, answer in zip(asked.values(), answers, strict=True)
                for (_, leaf, box), block in zip(wanted, answer, strict=True)
            }


def _all_of(leaf: Any) -> Box:
    return tuple((0, size) for size in leaf.shape)
