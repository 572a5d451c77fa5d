"""Placement and layout become a jax Mesh; the only file that spells axis names and types.

`tensor` is the innermost axis and runs along the rings, in the order in which a ring's traffic
passes its devices, so that neighbours on the axis are neighbours on the fabric. `data` and `fsdp`
count the rings.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from parallel.fabric.topology import Topology, gpu_order

DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
REPLICA_AXES = (DATA, FSDP)  # over these a global batch is split; between rings, over the DCN
RING_AXES = (TENSOR,)  # on these only one-hop sends between ring neighbours are allowed
AXES = REPLICA_AXES + RING_AXES  # the order of a mesh: ring axes are innermost


@dataclasses.dataclass(frozen=True)
class Layout:
    """How many ways each axis splits; `data` takes what the healthy groups leave."""

    tensor: int
    fsdp: int = 1

    def __post_init__(self) -> None:
        if self.tensor < 1 or self.fsdp < 1:
            raise ValueError(
                f"tensor={self.tensor}, fsdp={self.fsdp}: every axis needs a size of at least 1."
            )

    def nodes_per_group(self, gpus_per_node: int) -> int:
        """Nodes that one tensor-parallel ring spans.

        A ring takes whole nodes, since it goes out along one half of each node's GPUs and back
        along the other. With tensor = 1 there is no ring, and every GPU of a node is a group of its
        own.
        """
        if self.tensor > 1 and self.tensor % gpus_per_node:
            raise ValueError(
                f"tensor={self.tensor} cannot be formed from nodes of {gpus_per_node} GPUs: a ring "
                f"takes whole nodes; use 1 or a multiple of {gpus_per_node}."
            )
        return max(self.tensor // gpus_per_node, 1)

    def sizes(self, num_groups: int) -> dict[str, int]:
        """The size of every axis on `num_groups` groups, in the order of AXES.

        `fsdp` keeps its size while it can, and falls to its largest divisor that the groups allow.

        >>> Layout(tensor=4, fsdp=2).sizes(5)
        {'data': 2, 'fsdp': 2, 'tensor': 4}
        >>> Layout(tensor=4, fsdp=4).sizes(3)
        {'data': 1, 'fsdp': 2, 'tensor': 4}
        """
        if num_groups < 1:
            raise ValueError(f"no group of tensor={self.tensor} is left to make a mesh of.")
        fsdp = max(f for f in range(1, min(self.fsdp, num_groups) + 1) if self.fsdp % f == 0)
        return {DATA: num_groups // fsdp, FSDP: fsdp, TENSOR: self.tensor}


def device_groups(
    topology: Topology,
    groups: Sequence[Sequence[int]],
    layout: Layout,
    devices: Mapping[int, Sequence[jax.Device]],
) -> list[list[jax.Device]]:
    """Devices of every tensor-parallel group in ring order, from the placement's groups."""
    if layout.tensor == 1:
        return [[device] for group in groups for node in group for device in devices[node]]
    return [
        [devices[n][g] for n, g in gpu_order(topology, nodes, len(devices[nodes[0]]))]
        for nodes in groups
    ]


def make_mesh(
    topology: Topology,
    groups: Sequence[Sequence[int]],
    layout: Layout,
    devices: Mapping[int, Sequence[jax.Device]],
) -> Mesh:
    """The device mesh of one generation.

    Args:
      groups: the placement's groups, nodes in walk order.
      devices: the devices of each node, by GPU number.
    Returns: Mesh of AXES; groups that do not fill a row of `fsdp` stay idle.
    """
    rings = device_groups(topology, groups, layout, devices)
    shape = tuple(layout.sizes(len(rings)).values())
    return _mesh(shape, [device for ring in rings for device in ring])


def stand_in(shape: tuple[int, ...], devices: Sequence[jax.Device]) -> Mesh:
    """A mesh of the given shape on the first devices at hand: programs are compiled against it."""
    return _mesh(shape, devices)


def num_rings(mesh: Mesh) -> int:
    """How many rings a mesh has, which is how many ways a global batch is split."""
    return math.prod(mesh.shape[axis] for axis in REPLICA_AXES)


def _mesh(shape: tuple[int, ...], devices: Sequence[jax.Device]) -> Mesh:
    used = np.array(devices[: math.prod(shape)]).reshape(shape)
    return Mesh(used, AXES, axis_types=(AxisType.Auto,) * len(AXES))
