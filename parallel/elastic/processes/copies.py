"""Copies of the state in host memory, where only one node holds some part of it.

After every step, or every n, each node copies its shards to host memory and offers them, and the
keeper of each node (`snapshot.keepers`: a neighbour on its ring) fetches what no other node holds,
while the next step computes. Of both, the last two are kept. A node votes for a step only when it
has the newest copies that it is to keep; so the last but one are whole, whichever node is lost.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from parallel.elastic.processes.blocks import Blocks, Part, Peer, Wanted
from parallel.elastic.processes.exchange import BlockServer, NotHeld, PeerFailed
from parallel.elastic.snapshot import Box, holders

OWN, KEPT = "own", "kept"  # names under which blocks are offered, with the parity of the copy
RETRY_S = 0.005

Offer = Callable[[str, Blocks], None]


class Copies:
    """The copies that one node makes in one generation.

    Args:
      every: steps from one copy to the next.
      keeper_of: of each node.
      node_of: the node of a device.
      address_of: where each node offers its blocks.
      offer: offers blocks of this node under a name.
      told: is notified when a copy has come.
    """

    def __init__(
        self,
        node: int,
        every: int,
        keeper_of: Mapping[int, int],
        node_of: Callable[[jax.Device], int],
        address_of: Mapping[int, tuple[str, int]],
        server: BlockServer,
        offer: Offer,
        told: threading.Condition,
    ):
        self._every = every
        self._due = -1  # the newest state that is copied
        self._newest = -1  # the newest one of which this node has what it keeps for others
        self._kept = [n for n, keeper in keeper_of.items() if keeper == node]
        self._node_of, self._address_of = node_of, address_of
        self._server, self._offer, self._told = server, offer, told
        self._alone: Mapping[int, list[Part]] | None = None
        self._pulling: threading.Thread | None = None
        self._over = False

    def keep(self, step: int, tree: Any) -> None:
        """Offers what this node holds, and begins to fetch what it keeps for others."""
        if self._alone is None:
            self._alone = parts_alone(tree, self._node_of)
        if not self._alone or step % self._every:
            return
        self._due = step
        self._offer(self._name(OWN, step), Blocks.take(step, tree))
        if self._pulling:
            self._pulling.join()
        leaves = len(jax.tree.leaves(tree))
        self._pulling = threading.Thread(
            target=self._pull, args=(step, leaves), name="copies", daemon=True
        )
        self._pulling.start()

    def are_there(self) -> bool:
        """Whether this node has what it keeps for others of the newest state that is copied."""
        return not self._alone or self._newest >= self._due

    def close(self) -> None:
        """Fetches nothing any more."""
        self._over = True

    def _pull(self, step: int, leaves: int) -> None:
        assert self._alone is not None
        found: list[dict[Box, np.ndarray]] = [{} for _ in range(leaves)]
        for node in self._kept:
            parts = self._alone.get(node, [])
            peer = Peer(node, self._address_of[node])
            wanted: list[Wanted] = [(self._name(OWN, step), leaf, box) for leaf, box in parts]
            blocks = self._fetch(peer, step, wanted)
            if blocks is None:
                return
            for (leaf, box), block in zip(parts, blocks, strict=True):
                block.setflags(write=False)
                found[leaf][box] = block
        self._offer(self._name(KEPT, step), Blocks(step, tuple(found)))
        with self._told:
            self._newest = step
            self._told.notify_all()

    def _name(self, kind: str, step: int) -> str:
        """The name that blocks of a step are offered under; those of two copies before had it."""
        return f"{kind} {step // self._every % 2}"

    def _fetch(self, peer: Peer, step: int, wanted: list[Wanted]) -> list[np.ndarray] | None:
        """None if the peer was lost, or the generation is over."""
        while not self._over:
            try:
                return self._server.fetch(peer, step, wanted)
            except NotHeld:  # not yet
                time.sleep(RETRY_S)
            except PeerFailed:
                return None
        return None


def parts_alone(tree: Any, node_of: Callable[[jax.Device], int]) -> dict[int, list[Part]]:
    """The parts of `tree` that only one node holds, by that node."""
    alone: dict[int, list[Part]] = {}
    for at, leaf in enumerate(jax.tree.leaves(tree)):
        for box, devices in holders(leaf).items():
            nodes = set(map(node_of, devices))
            if len(nodes) == 1:
                alone.setdefault(nodes.pop(), []).append((at, box))
    return alone
