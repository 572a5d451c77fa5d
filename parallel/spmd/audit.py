"""What a compiled program communicates: which collectives, over which axes and which circuits.

    compiled.as_text() ──▶ audit ──▶ foreign    uses a ring and is no one-hop send: must be empty
                                 ──▶ unlit      sent where no live circuit is: must be empty
                                 ──▶ loads      bytes on every link

A partition of the program is a place in the flattened mesh, so one audit holds for every set of
devices that the program is loaded onto; only `places` depends on the devices.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from parallel.fabric.switchboard import Circuit
from parallel.fabric.topology import Gpu
from parallel.spmd import hlo
from parallel.spmd.mesh import RING_AXES


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective of the program, and how often it runs."""

    kind: str
    axes: tuple[str, ...]  # over which it communicates; () where nothing leaves a device
    bytes: int  # that a device sends each time
    pairs: tuple[tuple[int, int], ...]  # of sends: (from, to), as places in the flattened mesh
    one_hop: bool  # sends only, each to a neighbour on one axis
    count: int
    open_loops: int  # loops around it of unknown length; `count` is for one iteration of them


def audit(hlo_text: str, mesh_shape: Mapping[str, int]) -> list[Collective]:
    """Every collective of a compiled program, equal ones in one row, in the order of the text.

    Args:  mesh_shape: size of every axis of the mesh that it was compiled for.
    """
    size = math.prod(mesh_shape.values())
    if hlo.num_partitions(hlo_text) != size:
        raise ValueError(
            f"the program is for {hlo.num_partitions(hlo_text)} devices, but a mesh of "
            f"{dict(mesh_shape)} has {size}; pass the shape of the mesh that it was compiled for."
        )
    count_of: Counter[Collective] = Counter()
    for found in hlo.communications(hlo_text):
        pairs = tuple((a, b) for a, b in found.pairs if a != b)
        axes = _axes(pairs or found.groups, mesh_shape)
        known = [trips for trips in found.trips if trips is not None]
        row = Collective(
            kind=found.kind,
            axes=axes,
            bytes=_sent(found, axes),
            pairs=pairs,
            one_hop=bool(pairs) and _one_hop(pairs, mesh_shape),
            count=0,
            open_loops=len(found.trips) - len(known),
        )
        count_of[row] += math.prod(known)
    return [dataclasses.replace(row, count=count) for row, count in count_of.items()]


def foreign(collectives: Iterable[Collective]) -> list[Collective]:
    """What communicates over a ring axis and is not made of sends between ring neighbours.

    For every program of this project it is empty.
    """
    return [c for c in collectives if _on_ring(c) and not c.one_hop]


def places(mesh: Mesh, devices: Mapping[int, Sequence[jax.Device]]) -> list[Gpu]:
    """(node, gpu) of every place in the flattened mesh.

    Args:  devices: of each node, by GPU number.
    """
    place_of = {
        device: (node, gpu) for node, its in devices.items() for gpu, device in enumerate(its)
    }
    return [place_of[device] for device in mesh.devices.flat]


def unlit(
    collectives: Iterable[Collective], places: Sequence[Gpu], circuits: Iterable[Circuit]
) -> list[tuple[Gpu, Gpu]]:
    """Pairs of GPUs between which the program sends over a ring axis without a live circuit."""
    lit = {frozenset(circuit[:2]) for circuit in circuits}
    pairs = dict.fromkeys(
        (places[a], places[b]) for c in collectives if _on_ring(c) for a, b in c.pairs
    )
    return [pair for pair in pairs if frozenset(pair) not in lit]


@dataclasses.dataclass(frozen=True)
class Load:
    """What one direction of a link carries in a run of the program."""

    source: Gpu
    target: Gpu
    bytes: int
    bytes_per_iteration: int  # of a loop whose length the program does not state; comes on top


def loads(collectives: Iterable[Collective], places: Sequence[Gpu]) -> list[Load]:
    """The sends over ring axes, summed for every link, in the order of the GPUs."""
    once: Counter[tuple[Gpu, Gpu]] = Counter()
    repeated: Counter[tuple[Gpu, Gpu]] = Counter()
    for c in filter(_on_ring, collectives):
        total = repeated if c.open_loops else once
        for a, b in c.pairs:
            total[places[a], places[b]] += c.count * c.bytes
    return [Load(a, b, once[a, b], repeated[a, b]) for a, b in sorted(once | repeated)]


def table(loads: Iterable[Load]) -> str:
    """Loads for people.

    >>> print(table([Load((0, 0), (1, 0), 96, 4096)]))
    from node.gpu   to node.gpu         bytes   and per iteration
              0.0           1.0            96                4096
    """
    lines = [("from node.gpu", "to node.gpu", "bytes", "and per iteration")]
    for load in loads:
        source, target = (f"{node}.{gpu}" for node, gpu in (load.source, load.target))
        lines.append((source, target, str(load.bytes), str(load.bytes_per_iteration)))
    return "\n".join(f"{a:>13}{b:>14}{once:>14}{each:>20}" for a, b, once, each in lines)


def _on_ring(collective: Collective) -> bool:
    return not set(collective.axes).isdisjoint(RING_AXES)


def _axes(groups: Sequence[Sequence[int]], mesh_shape: Mapping[str, int]) -> tuple[str, ...]:
    """The axes on which members of one group are at different places."""
    sizes = tuple(mesh_shape.values())
    apart = np.zeros(len(sizes), bool)
    for group in groups:
        at = np.array(np.unravel_index(np.array(group, int), sizes))
        apart |= (at != at[:, :1]).any(axis=1)
    return tuple(axis for axis, differs in zip(mesh_shape, apart, strict=True) if differs)


def _one_hop(pairs: Sequence[tuple[int, int]], mesh_shape: Mapping[str, int]) -> bool:
    """Whether each pair is neighbours on one axis, taken as a circle, and equal on all others."""
    sizes = np.array(list(mesh_shape.values()))[:, None]
    a, b = (
        np.array(np.unravel_index(np.array(ends), sizes.ravel()))
        for ends in zip(*pairs, strict=True)
    )
    forward = (b - a) % sizes
    return bool((np.minimum(forward, sizes - forward).sum(axis=0) == 1).all())


def _sent(found: hlo.Communication, axes: tuple[str, ...]) -> int:
    """Bytes that a device sends with the best algorithm of each kind."""
    if not axes:
        return 0
    members = max(map(len, found.groups), default=1)
    for_others = -(-found.bytes * (members - 1) // members)  # if each member gets an equal part
    return {
        "all-gather": found.bytes * (members - 1),
        "all-reduce": 2 * for_others,
        "reduce-scatter": for_others,
        "all-to-all": for_others,
    }.get(found.kind, found.bytes)
