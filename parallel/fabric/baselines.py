"""How many rings the healthy nodes of each architecture form: K-hop fabrics, and what they are
compared with.

    R  GPUs of a node      t  GPUs of a ring      alive[..., n]  whether node n is there

All answer one question, `num_groups(alive, R, t)`, for any number of states at once. Each model
follows from how the architecture is wired. InfinitePOD (arXiv 2502.03885) compares the same
architectures without publishing its models; the evidence for these is that they give its numbers.

    big_switch     one switch joins all GPUs: the ideal
    nvl36, nvl72   islands of so many GPUs behind switches; any healthy GPUs of an island form
    nvl576, dgx    rings, and none leaves it. No GPU is kept as a spare, which gives the paper's
                   10.04 % for nvl72
    tpuv4          cubes of 64, cut into fixed slices of t; a slice with a fault is lost. Larger
                   rings take whole cubes, in any order, for optical switches join them
    sip_ring       fixed rings of t; a ring with a fault is lost
    khop2, khop3   the k-hop ring of this package, for any reach
"""

import math
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from parallel.fabric.placement import place
from parallel.fabric.topology import Bools, Ints, KHopLine, KHopRing, check_bundles

CUBE = 64  # TPUs


class Architecture(Protocol):
    def num_groups(self, alive: Bools, gpus_per_node: int, tensor: int) -> Ints:
        """The most rings of `tensor` GPUs in each state `alive[..., n]`."""


@dataclass(frozen=True)
class Islands:
    """Switched domains of `size` GPUs, the last of which may be smaller; None for a single one."""

    size: int | None = None

    def num_groups(self, alive: Bools, gpus_per_node: int, tensor: int) -> Ints:
        check_tensor(gpus_per_node, tensor)
        size = self.size or alive.shape[-1] * gpus_per_node
        grain = math.gcd(size, gpus_per_node)
        healthy = _domains(alive, gpus_per_node, size, grain).sum(axis=-1) * grain  # GPUs
        groups: Ints = (healthy // tensor).sum(axis=-1)
        return groups


@dataclass(frozen=True)
class FixedRings:
    """Rings of `tensor` GPUs at fixed places, which do not leave a cube of `cube` GPUs if there are
    cubes.
    """

    cube: int | None = None

    def num_groups(self, alive: Bools, gpus_per_node: int, tensor: int) -> Ints:
        check_tensor(gpus_per_node, tensor)
        cube = self.cube or tensor
        groups: Ints
        if tensor > cube:
            whole = _domains(alive, gpus_per_node, cube, math.gcd(cube, gpus_per_node))
            groups = whole.all(axis=-1).sum(axis=-1) // math.ceil(tensor / cube)
            return groups
        grain = math.gcd(cube, gpus_per_node, tensor)
        parts = cube // tensor * (tensor // grain)  # of a cube; what does not fill a ring is left
        gpus = _domains(alive, gpus_per_node, cube, grain)[..., :parts]
        rings = gpus.reshape(*alive.shape[:-1], -1, tensor // grain)
        groups = rings.all(axis=-1).sum(axis=-1)
        return groups


@dataclass(frozen=True)
class FlexibleRings:
    """Rings at any place of a k-hop ring, or line: as many groups as `place` forms, counted for
    many states at once.
    """

    hops: int
    wraps: bool = True

    def num_groups(self, alive: Bools, gpus_per_node: int, tensor: int) -> Ints:
        check_tensor(gpus_per_node, tensor)
        topology = (KHopRing if self.wraps else KHopLine)(alive.shape[-1], self.hops)
        check_bundles(self.hops, gpus_per_node)
        groups: Ints
        if tensor <= gpus_per_node:
            groups = alive.sum(axis=-1) * (gpus_per_node // tensor)
            return groups
        states, nodes_per_group = alive.reshape(-1, alive.shape[-1]), tensor // gpus_per_node
        groups, exact = self._count(states, nodes_per_group)
        for state in np.flatnonzero(~exact):
            failed = np.flatnonzero(~states[state])
            groups[state] = len(place(topology, failed, nodes_per_group).groups)
        return groups.reshape(alive.shape[:-1])

    def _count(self, alive: Bools, nodes_per_group: int) -> tuple[Ints, Bools]:
        """Groups of each state by the lengths of its segments; and whether nothing else limits
        them, since it has no pivot (see `cutting`).

        Example: two states of a 7-node ring with K = 2, one without node 3, one without 2 and 3.

            state   0  0  0  0  0  0 | 1  1  1  1  1
            node    0  1  2  4  5  6 | 0  1  4  5  6
            step    1  1  2  1  1  1 | 1  3  1  1  1     to the next healthy node, around the ring
            ends                   * |    *        *     of segments: a step > K, or the last node
            length  6                | 2  3

        The last step of state 1 is no cut, so its segments of 2 and 3 nodes are one of 5. Groups of
        3: 2 and 1.
        """
        num_states, num_nodes = alive.shape
        state, node = np.nonzero(alive)  # every healthy node, state by state
        first = np.flatnonzero(np.diff(state, prepend=-1))  # of each state that has a node
        last = np.append(first[1:], node.size)[: first.size] - 1
        step = np.diff(node, append=0)
        step[last] = node[first] + num_nodes - node[last] if self.wraps else self.hops + 1
        is_last = np.zeros(node.size, bool)
        is_last[last] = True
        ends = np.flatnonzero((step > self.hops) | is_last)
        length, of_state = np.diff(ends, prepend=-1), state[ends]
        # Where the last node still reaches the first, the last segment goes on in the first one.
        head = np.flatnonzero(np.diff(of_state, prepend=-1))
        tail = np.append(head[1:], ends.size)[: head.size] - 1
        joined = (step[last] <= self.hops) & (head != tail)
        length[head[joined]] += length[tail[joined]]
        length[tail[joined]] = 0
        groups = np.zeros(num_states, np.int64)
        np.add.at(groups, of_state, length // nodes_per_group)
        exact = np.ones(num_states, bool)
        if self.hops > 1 and self.hops % 2 == 1:  # only then is there a bundle that two sides share
            before = np.roll(step, 1)
            before[first] = step[last]
            exact[state[(step == self.hops) & (before == self.hops)]] = False
        return groups, exact


NAMED: dict[str, Architecture] = {
    "big_switch": Islands(),
    "dgx": Islands(8),
    "tpuv4": FixedRings(CUBE),
    "sip_ring": FixedRings(),
}


def architecture(name: str) -> Architecture:
    """By its name: those of the head of this file, nvlN for islands of N GPUs, khopK for a k-hop
    ring.

    >>> alive = np.array([[1, 1, 1, 0, 1, 1, 1], [1, 1, 0, 0, 1, 1, 1]], bool)
    >>> architecture("khop2").num_groups(alive, gpus_per_node=4, tensor=12)
    array([2, 1])
    """
    numbered = re.fullmatch(r"(nvl|khop)([1-9]\d*)", name)
    if numbered:
        number = int(numbered[2])
        return Islands(number) if numbered[1] == "nvl" else FlexibleRings(number)
    if name not in NAMED:
        raise ValueError(
            f"there is no architecture {name!r}: take {', '.join(NAMED)}, nvlN or khopK."
        )
    return NAMED[name]


def check_tensor(gpus_per_node: int, tensor: int) -> None:
    """Raises unless a ring of `tensor` GPUs takes whole nodes, or a whole share of one."""
    if tensor < 1 or (tensor % gpus_per_node and gpus_per_node % tensor):
        raise ValueError(
            f"rings of tensor={tensor} GPUs do not fit nodes of gpus_per_node={gpus_per_node}: "
            f"take a multiple of {gpus_per_node}, or a divisor."
        )


def _domains(alive: Bools, gpus_per_node: int, size: int, grain: int) -> Bools:
    """[..., domain, part]: whether each part of `grain` GPUs is there; what the last domain lacks
    never is.
    """
    parts = np.repeat(alive, gpus_per_node // grain, axis=-1)
    lacking = -parts.shape[-1] % (size // grain)
    parts = np.pad(parts, [(0, 0)] * (alive.ndim - 1) + [(0, lacking)])
    return parts.reshape(*alive.shape[:-1], -1, size // grain)
