"""K-hop rings and lines (InfinitePOD, arXiv 2502.03885): who reaches whom, and how a ring passes
the GPUs.

    R  GPUs of a node      K  hops: how far a wire reaches, in nodes      N  nodes

The GPUs of a node form a cycle, and between GPU g and GPU g + 1 sits bundle position g. Most
positions are plain cables; some carry OCSTrx, which close the cycle (loopback) or open it towards
another node. A node with two open bundles is split into two arcs: a ring enters along one and
comes back along the other.
"""

import abc
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Nodes = tuple[int, ...]  # of a ring: in the order in which it passes them
Gpu = tuple[int, int]  # (node, gpu of that node)


class Port(NamedTuple):
    """The bundle, and its external path, that reaches one distance."""

    bundle: int
    path: str  # "main" or "backup"


class _KHopFabric(abc.ABC):
    """What ring and line share; how far apart two nodes are makes the difference."""

    num_nodes: int
    hops: int

    @abc.abstractmethod
    def distance(self, a: int, b: int) -> int:
        """Signed steps from `a` to `b`; on a ring, the short way round."""

    @abc.abstractmethod
    def shift(self, node: int, step: int) -> int | None:
        """The node `step` places on; None beyond the end of a line."""

    @abc.abstractmethod
    def walk(self, failed: Collection[int]) -> tuple[Ints, Ints]:
        """Healthy nodes in walk order, and where in that array each segment starts."""

    @property
    def num_bundles(self) -> int:
        """OCSTrx bundles of a node."""
        return bundles_for(self.hops)

    @property
    def shares_last_bundle(self) -> bool:
        """Whether +K and -K hang on one bundle, so that no node can use both at once."""
        return self.hops > 1 and self.hops % 2 == 1

    def reaches(self, a: int, b: int) -> bool:
        """Whether a fibre joins nodes `a` and `b`."""
        return 1 <= abs(self.distance(a, b)) <= self.hops

    def port(self, a: int, b: int) -> Port:
        """The bundle and path of node `a` that lead to node `b`.

        Every bundle has two paths. Distances pair up on each side: bundle 0 has +1 and +2, bundle
        1 has -1 and -2, bundle 2 has +3 and +4, and so on. An odd K > 1 leaves +K and -K; they
        share the last bundle.

        >>> ring = KHopRing(num_nodes=9, hops=3)
        >>> ring.port(0, 2), ring.port(0, 8)
        (Port(bundle=0, path='backup'), Port(bundle=1, path='main'))
        >>> ring.port(0, 3), ring.port(0, 6)
        (Port(bundle=2, path='main'), Port(bundle=2, path='backup'))
        """
        if not self.reaches(a, b):
            raise ValueError(
                f"no fibre joins nodes {a} and {b}: a wire reaches {self.hops} nodes far."
            )
        return self._port_of(self.distance(a, b))

    def peer(self, node: int, port: Port) -> int | None:
        """The node at the other end of a port's fibre; None where nothing is plugged in."""
        for step in (*range(-self.hops, 0), *range(1, self.hops + 1)):
            if self._port_of(step) == port:
                return self.shift(node, step)
        return None

    def _port_of(self, step: int) -> Port:
        if abs(step) == self.hops and self.shares_last_bundle:
            return Port(self.hops - 1, "main" if step > 0 else "backup")
        first_of_pair = 2 * ((abs(step) - 1) // 2)
        bundle = first_of_pair if step > 0 else first_of_pair + 1
        return Port(bundle, "main" if step % 2 else "backup")

    def healthy(self, failed: Collection[int]) -> Ints:
        """The nodes that are not in `failed`, ascending."""
        alive = np.ones(self.num_nodes, bool)
        out = np.fromiter(failed, np.int64, len(failed))
        wrong = out[(out < 0) | (out >= self.num_nodes)]
        if wrong.size:
            raise ValueError(
                f"failed node {wrong[0]} does not exist: nodes are 0 to {self.num_nodes - 1}."
            )
        alive[out] = False
        return np.flatnonzero(alive)

    def segments(self, failed: Collection[int]) -> list[list[int]]:
        """Healthy nodes that can still reach each other, in walk order."""
        nodes, starts = self.walk(failed)
        return [part.tolist() for part in np.split(nodes, starts[1:])] if nodes.size else []


@dataclass(frozen=True)
class KHopRing(_KHopFabric):
    """N nodes in a circle, each wired to the K before it and the K after it.

    >>> KHopRing(num_nodes=9, hops=2).segments(failed={2, 3, 6})
    [[4, 5, 7, 8, 0, 1]]
    >>> KHopRing(num_nodes=9, hops=2).segments(failed={2, 3, 6, 7})
    [[4, 5], [8, 0, 1]]
    """

    num_nodes: int
    hops: int

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= (self.num_nodes - 1) // 2:
            raise ValueError(
                f"hops={self.hops} does not fit a ring of num_nodes={self.num_nodes}: "
                f"a wire may reach at least 1 and at most {max(0, (self.num_nodes - 1) // 2)} "
                "nodes away."
            )

    def distance(self, a: int, b: int) -> int:
        forward = (b - a) % self.num_nodes
        return forward if 2 * forward <= self.num_nodes else forward - self.num_nodes

    def shift(self, node: int, step: int) -> int:
        return (node + step) % self.num_nodes

    def walk(self, failed: Collection[int]) -> tuple[Ints, Ints]:
        nodes = self.healthy(failed)
        if not nodes.size:
            return nodes, nodes
        cuts = np.flatnonzero(np.diff(nodes, append=nodes[0] + self.num_nodes) > self.hops) + 1
        if not cuts.size or cuts[-1] == nodes.size:  # nothing to merge across node 0
            return nodes, np.append(0, cuts[:-1])
        return np.roll(nodes, -cuts[0]), cuts - cuts[0]


@dataclass(frozen=True)
class KHopLine(_KHopFabric):
    """N nodes in a row, each wired to the K before it and the K after it.

    >>> KHopLine(num_nodes=9, hops=2).segments(failed={2, 3, 6})
    [[0, 1], [4, 5, 7, 8]]
    """

    num_nodes: int
    hops: int

    def __post_init__(self) -> None:
        if self.num_nodes < 1 or self.hops < 1:
            raise ValueError(
                f"a line of num_nodes={self.num_nodes} with hops={self.hops} does not exist: "
                f"both must be at least 1."
            )

    def distance(self, a: int, b: int) -> int:
        return b - a

    def shift(self, node: int, step: int) -> int | None:
        return node + step if 0 <= node + step < self.num_nodes else None

    def walk(self, failed: Collection[int]) -> tuple[Ints, Ints]:
        nodes = self.healthy(failed)
        if not nodes.size:
            return nodes, nodes
        return nodes, np.append(0, np.flatnonzero(np.diff(nodes) > self.hops) + 1)


Topology = KHopRing | KHopLine


def bundles_for(hops: int) -> int:
    """OCSTrx bundles that a node needs: K, but two for K = 1, since each side needs its own."""
    return max(2, hops)


def check_bundles(hops: int, gpus_per_node: int) -> None:
    """Raises unless a node has a place between two GPUs for each of its bundles."""
    if gpus_per_node < bundles_for(hops):
        raise ValueError(
            f"hops={hops} needs {bundles_for(hops)} OCSTrx bundles in a node, but a node of "
            f"gpus_per_node={gpus_per_node} has room for {gpus_per_node}: lower hops or use "
            "larger nodes."
        )


def bundle_position(bundle: int, gpus_per_node: int) -> int:
    """Where a bundle sits in the GPU cycle of its node: even ones on the way out, odd ones on the
    way back.

    Bundles 0 and 1 split the node in two equal halves (an odd R has one GPU more on the way out).
    """
    last = gpus_per_node if bundle % 2 else (gpus_per_node + 1) // 2
    return last - 1 - bundle // 2


def ring_order(nodes: Sequence[int], gpus_per_node: int) -> list[Gpu]:
    """(node, gpu) in the order in which a group's traffic passes them: out along one half of every
    node, then back.

    This is the order of every ring of K <= 2. With K >= 3 a ring may open other bundles and split
    its nodes elsewhere; `gpu_order` gives the order of any ring. R = 1 has no ring of several
    nodes, because the way out and the way back need a GPU each.

    >>> ring_order(["a", "b"], gpus_per_node=2)
    [('a', 0), ('b', 0), ('b', 1), ('a', 1)]
    >>> ring_order(["a", "b"], gpus_per_node=3)
    [('a', 0), ('a', 1), ('b', 0), ('b', 1), ('b', 2), ('a', 2)]
    """
    check_ring_size(nodes, gpus_per_node)
    half = (gpus_per_node + 1) // 2
    out = [(node, gpu) for node in nodes for gpu in range(half)]
    back = [(node, gpu) for node in reversed(nodes) for gpu in range(half, gpus_per_node)]
    return out + back


def gpu_order(topology: Topology, nodes: Sequence[int], gpus_per_node: int) -> list[Gpu]:
    """The order in which the circuits of this ring pass its GPUs, whatever bundles it opens.

    >>> gpu_order(KHopLine(num_nodes=9, hops=3), [0, 3], gpus_per_node=4)
    [(0, 0), (3, 1), (3, 2), (3, 3), (3, 0), (0, 1), (0, 2), (0, 3)]
    """
    check_ring_size(nodes, gpus_per_node)
    peer: dict[Gpu, Gpu] = {}  # open position -> the open position it faces
    for a, b in zip(nodes, nodes[1:], strict=False):
        ends = [
            (x, bundle_position(topology.port(x, y).bundle, gpus_per_node))
            for x, y in ((a, b), (b, a))
        ]
        peer |= dict(zip(ends, ends[::-1], strict=True))
    order: list[Gpu] = []
    here = nodes[0], 0
    while len(order) < len(nodes) * gpus_per_node:
        order.append(here)
        node, gpu = peer.get(here, here)
        here = node, (gpu + 1) % gpus_per_node
    return order


def check_ring_size(nodes: Sequence[int], gpus_per_node: int) -> None:
    """Raises unless the GPUs of these nodes can form a ring."""
    if gpus_per_node < 1 or not nodes or (gpus_per_node == 1 and len(nodes) > 1):
        raise ValueError(
            f"{len(nodes)} nodes of {gpus_per_node} GPUs form no ring: the way out and the way "
            "back need a GPU each in every node, so take nodes of at least 2 or keep every group "
            "inside one node."
        )
