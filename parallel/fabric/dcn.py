"""The data-centre network beside the rings: ToRs, and the share of a job's traffic that crosses
them.

    p  nodes under a ToR    T  ToRs    m  nodes of a group    s  peers: groups that exchange shards

Deployment. Position i of the K-hop order hangs under ToR i mod T: the first sub-line takes one
node of every ToR, then the second sub-line, and so on up to p. So a group runs across m ToRs, and
groups that lie side by side under the same ToRs meet their equal ranks inside a ToR.

    ToR          0    1    2    3    4    5         a group of three, and its peer below it
    sub-line 0   0 -- 1 -- 2    3    4    5
    sub-line 1   6 -- 7 -- 8    9   10   11
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from parallel.fabric.topology import Ints

IntOrInts = TypeVar("IntOrInts", int, Ints)  # one node, or an array of them


@dataclass(frozen=True)
class FatTree:
    """`num_nodes` nodes, `nodes_per_tor` to a ToR, `tors_per_domain` ToRs to an aggregation
    switch.
    """

    num_nodes: int
    nodes_per_tor: int = 4
    tors_per_domain: int = 64

    def __post_init__(self) -> None:
        if min(self.num_nodes, self.nodes_per_tor, self.tors_per_domain) < 1:
            raise ValueError(f"{self} is no tree: every number must be at least 1.")
        if self.num_nodes % self.nodes_per_tor:
            raise ValueError(
                f"num_nodes={self.num_nodes} do not fill ToRs of "
                f"nodes_per_tor={self.nodes_per_tor}: take "
                f"{self.num_nodes - self.num_nodes % self.nodes_per_tor} nodes."
            )

    @property
    def num_tors(self) -> int:
        return self.num_nodes // self.nodes_per_tor

    @property
    def num_domains(self) -> int:
        """Aggregation switches; the last one may have fewer ToRs."""
        return math.ceil(self.num_tors / self.tors_per_domain)

    def tor(self, nodes: IntOrInts) -> IntOrInts:
        """The ToR of a node, or of an array of them."""
        return nodes % self.num_tors

    def subline(self, nodes: IntOrInts) -> IntOrInts:
        """The sub-line in which nodes lie."""
        return nodes // self.num_tors

    def domain(self, nodes: IntOrInts) -> IntOrInts:
        """The aggregation switch above nodes."""
        return self.tor(nodes) // self.tors_per_domain


@dataclass(frozen=True)
class Job:
    """A training job of `num_groups` tensor-parallel groups, and the bytes that each of its GPUs
    sends per step.

    Groups work in sets of `peers`, which hold one copy of the model in shards (FSDP): a shard is
    gathered for every microbatch, forwards and backwards, and gradients are scattered. Sets are
    replicas of each other and sum their gradients once per step. Both collectives are rings of
    equal ranks over the DCN, which visit ToR after ToR. The tensor-parallel ring gathers and
    scatters activations four times per layer, and as often on the way back. The defaults are a
    dense model of 70 billion parameters.
    """

    num_groups: int
    tensor: int = 32
    peers: int = 2
    parameters: float = 70e9
    layers: int = 80
    width: int = 8192
    tokens: int = 8192  # of a microbatch
    microbatches: int = 16  # of a step

    @property
    def ring_bytes(self) -> float:
        """Inside the group's ring: activations in 2 bytes."""
        moved = 8 * self.tokens * self.width * 2 * (self.tensor - 1) / self.tensor
        return self.microbatches * self.layers * moved

    @property
    def peer_bytes(self) -> float:
        """Among the peers of a set: weights gathered twice, gradients scattered once, in 2
        bytes.
        """
        shards_of_others = (self.peers - 1) / self.peers
        return self.microbatches * 3 * 2 * self.parameters / self.tensor * shards_of_others

    @property
    def replica_bytes(self) -> float:
        """Between sets: gradients scattered and gathered, in 4 bytes."""
        sets = max(1, self.num_groups // self.peers)
        return 2 * self.parameters / self.tensor / self.peers * 4 * (sets - 1) / sets


@dataclass(frozen=True)
class Traffic:
    """Shares between 0 and 1."""

    peers_cross: float  # of the bytes among peers
    replicas_cross: float  # of the bytes between sets
    cross_tor: float  # of the DCN's bytes
    cross_tor_of_all: float  # of all bytes of the job, its rings included


def traffic(tree: FatTree, job: Job, groups: Ints) -> Traffic:
    """What crosses ToRs when `groups`, [groups, m], run the job.

    Every `peers` of them in turn are a set.
    """
    tors = tree.tor(groups)
    sets = len(tors) // job.peers
    whole = tors[: sets * job.peers].reshape(sets, job.peers, tors.shape[1])
    rest = tors[sets * job.peers :]
    hops = crossings(whole, axis=1).sum() + crossings(rest, axis=0).sum()
    peers_cross = float(hops / max(1, tors.size))
    replicas_cross = float(crossings(whole, axis=0).sum() / max(1, whole.size))
    crossing = peers_cross * job.peer_bytes + replicas_cross * job.replica_bytes
    dcn = job.peer_bytes + job.replica_bytes
    return Traffic(
        peers_cross,
        replicas_cross,
        crossing / dcn if dcn else 0.0,
        crossing / (job.ring_bytes + dcn),
    )


def crossings(tors: Ints, axis: int) -> Ints:
    """Hops between ToRs in a ring that visits ToR after ToR: as many as there are ToRs, or none in
    a single one.

    >>> crossings(np.array([[3, 3, 3, 3], [3, 4, 4, 3], [1, 2, 3, 4]]), axis=1)
    array([0, 2, 4])
    """
    ordered = np.sort(tors, axis=axis)
    distinct = (np.diff(ordered, axis=axis) != 0).sum(axis=axis) + 1
    return np.where(distinct > 1, distinct, 0)
