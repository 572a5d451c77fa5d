"""How many rings the healthy nodes of each architecture form: K-hop fabrics, and what they are
compared with.

    R  GPUs of a node      t  GPUs of a ring      alive[..., n]  whether node n is there

All answer one question, `num_groups(alive, R, t)`, for any number of states at once. The models
and what speaks for them (section numbers of InfinitePOD, arXiv 2502.03885, are not known; the
models reproduce its numbers):

    big_switch     one switch joins all GPUs: the ideal
    nvl36, nvl72   islands of so many GPUs behind switches; any healthy GPUs of an island form rings, and none
    nvl576, dgx    leaves it. No GPU is kept as a spare, which gives the paper's 10.04 % for nvl72
    tpuv4          cubes of 64, cut into fixed slices of t; a slice with a fault is lost. Larger rings take
                   whole cubes, in any order, for optical switches join them
    sip_ring       fixed rings of t; a ring with a fault is lost
    khop2, khop3   the k-hop ring of this package, for any reach
"""

import re
from dataclasses import dataclass
from math import gcd
from typing import Protocol

import numpy as np

from parallel.fabric.placement import place
from parallel.fabric.topology import KHopLine, KHopRing

CUBE = 64  # TPUs


class Architecture(Protocol):
    def num_groups(self, alive: np.ndarray, gpus_per_node: int, tensor: int) -> np.ndarray:
        """The most rings of `tensor` GPUs in each state `alive[..., n]`."""


@dataclass(frozen=True)
class Islands:
    """Switched domains of `size` GPUs, the last of which may be smaller; None for a single one."""

    size: int | None = None

    def num_groups(self, alive: np.ndarray, gpus_per_node: int, tensor: int) -> np.ndarray:
        check_tensor(gpus_per_node, tensor)
        size = self.size or alive.shape[-1] * gpus_per_node
        grain = gcd(size, gpus_per_node)
        return (_domains(alive, gpus_per_node, size, grain).sum(axis=-1) * grain // tensor).sum(
            axis=-1
        )


@dataclass(frozen=True)
class FixedRings:
    """Rings of `tensor` GPUs at fixed places, which do not leave a cube of `cube` GPUs if there are
    cubes.
    """

    cube: int | None = None

    def num_groups(self, alive: np.ndarray, gpus_per_node: int, tensor: int) -> np.ndarray:
        check_tensor(gpus_per_node, tensor)
        cube = self.cube or tensor
        if tensor > cube:
            whole = _domains(alive, gpus_per_node, cube, gcd(cube, gpus_per_node)).all(axis=-1)
            return whole.sum(axis=-1) // -(-tensor // cube)
        grain = gcd(cube, gpus_per_node, tensor)
        gpus = _domains(alive, gpus_per_node, cube, grain)[
            ..., : cube // tensor * (tensor // grain)
        ]
        return gpus.reshape(*alive.shape[:-1], -1, tensor // grain).all(axis=-1).sum(axis=-1)


@dataclass(frozen=True)
class KHop:
    """The k-hop ring, or line: as many groups as `place` forms, counted for many states at once."""

    hops: int
    wraps: bool = True

    def num_groups(self, alive: np.ndarray, gpus_per_node: int, tensor: int) -> np.ndarray:
        check_tensor(gpus_per_node, tensor)
        topology = (KHopRing if self.wraps else KHopLine)(alive.shape[-1], self.hops)
        if topology.num_bundles > gpus_per_node:
            raise ValueError(
                f"hops={self.hops} needs {topology.num_bundles} OCSTrx bundles in a node, but a "
                "node of "
                f"gpus_per_node={gpus_per_node} has room for {gpus_per_node}: lower hops or use "
                "larger nodes."
            )
        if tensor <= gpus_per_node:
            return alive.sum(axis=-1) * (gpus_per_node // tensor)
        states, nodes_per_group = alive.reshape(-1, alive.shape[-1]), tensor // gpus_per_node
        groups, exact = self._count(states, nodes_per_group)
        for state in np.flatnonzero(~exact):
            failed = np.flatnonzero(~states[state])
            groups[state] = len(place(topology, failed, nodes_per_group).groups)
        return groups.reshape(alive.shape[:-1])

    def _count(self, alive: np.ndarray, nodes_per_group: int) -> tuple[np.ndarray, np.ndarray]:
        """Groups of each state if nothing but its segments counts, and whether that is so: it has
        no pivot.
        """
        num_states, num_nodes = alive.shape
        state, node = np.nonzero(alive)
        start, end = (
            np.searchsorted(state, np.arange(num_states), side) for side in ("left", "right")
        )
        start, end = start[start < end], end[start < end] - 1  # of states with any node
        step = np.diff(node, append=0)  # to the next healthy node
        step[end] = node[start] + num_nodes - node[end] if self.wraps else self.hops + 1
        cut = step > self.hops
        cuts = np.bincount(state[cut], minlength=num_states)
        segments = np.maximum(cuts, 1)
        passed = (
            np.cumsum(cut) - cut - (np.cumsum(cuts) - cuts)[state]
        )  # cuts of this state before this node
        segment = (np.cumsum(segments) - segments)[state] + passed % segments[state]
        groups = np.bincount(segment, minlength=segments.sum()) // nodes_per_group
        before = np.roll(step, 1)
        before[start] = step[end]
        pivot = (step == self.hops) & (before == self.hops) & (self.hops > 1 and self.hops % 2 == 1)
        exact = np.bincount(state[pivot], minlength=num_states) == 0
        return np.add.reduceat(groups, np.cumsum(segments) - segments), exact


NAMED = {
    "big_switch": Islands(),
    "dgx": Islands(8),
    "tpuv4": FixedRings(CUBE),
    "sip_ring": FixedRings(),
}


def architecture(name: str) -> Architecture:
    """By its name: those of the head of this file, nvlN for islands of N GPUs, khopK for a k-hop
    ring.

    >>> alive = np.array([[True, True, True, False, True, True, True], [True, True, False, False, True, True, True]])
    >>> architecture("khop2").num_groups(alive, gpus_per_node=4, tensor=12)
    array([2, 1])
    """
    numbered = re.fullmatch(r"(nvl|khop)([1-9]\d*)", name)
    if numbered:
        return {"nvl": Islands, "khop": KHop}[numbered[1]](int(numbered[2]))
    if name not in NAMED:
        raise ValueError(
            f"there is no architecture {name!r}: take {', '.join(NAMED)}, nvlN or khopK."
        )
    return NAMED[name]


def waste(found: Architecture, alive: np.ndarray, gpus_per_node: int, tensor: int) -> np.ndarray:
    """Healthy GPUs in no ring as a share of all GPUs; faulty ones are not counted as waste."""
    in_rings = found.num_groups(alive, gpus_per_node, tensor) * tensor
    return (alive.sum(axis=-1) * gpus_per_node - in_rings) / (alive.shape[-1] * gpus_per_node)


def check_tensor(gpus_per_node: int, tensor: int) -> None:
    """Raises unless a ring of `tensor` GPUs takes whole nodes, or a whole share of one."""
    if tensor < 1 or (tensor % gpus_per_node and gpus_per_node % tensor):
        raise ValueError(
            f"rings of tensor={tensor} GPUs do not fit nodes of gpus_per_node={gpus_per_node}: "
            f"take a multiple of {gpus_per_node}, or a divisor."
        )


def _domains(alive: np.ndarray, gpus_per_node: int, size: int, grain: int) -> np.ndarray:
    """[..., domain, part]: whether each part of `grain` GPUs is there; what the last domain lacks
    never is.
    """
    parts = np.repeat(alive, gpus_per_node // grain, axis=-1)
    lacking = -parts.shape[-1] % (size // grain)
    parts = np.pad(parts, [(0, 0)] * (alive.ndim - 1) + [(0, lacking)])
    return parts.reshape(*alive.shape[:-1], -1, size // grain)
