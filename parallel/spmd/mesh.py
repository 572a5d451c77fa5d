"""Placement and layout become a jax Mesh; the one file that knows axis names and types.

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

AXES = ("data", "fsdp", "tensor")
REPLICA_AXES = ("data", "fsdp")  # over these a global batch is split; between rings, over the DCN
RING_AXES = ("tensor",)  # on these only one-hop sends between ring neighbours are allowed


@dataclasses.dataclass(frozen=True)
class Layout:
    """How many ways each axis splits; `data` takes what the healthy groups leave."""

    tensor: int
    fsdp: int = 1

    def __post_init__(self):
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
                "takes whole "
                f"nodes; use 1 or a multiple of {gpus_per_node}."
            )
        return max(self.tensor // gpus_per_node, 1)

    def shape(self, num_groups: int) -> tuple[int, int, int]:
        """Sizes of (data, fsdp, tensor) on `num_groups` groups.

        `fsdp` keeps its size while it can, and falls to its largest divisor that the groups allow.

        >>> Layout(tensor=4, fsdp=2).shape(5), Layout(tensor=4, fsdp=4).shape(3)
        ((2, 2, 4), (1, 2, 4))
        """
        if num_groups < 1:
            raise ValueError(f"no group of tensor={self.tensor} is left to make a mesh of.")
        fsdp = max(f for f in range(1, min(self.fsdp, num_groups) + 1) if self.fsdp % f == 0)
        return num_groups // fsdp, fsdp, self.tensor


def device_groups(
    topology: Topology, groups: Sequence[Sequence[int]], layout: Layout, devices: Mapping
):
    """Devices of every tensor-parallel group in ring order, from the placement's groups of
    nodes.
    """
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
    Returns: Mesh of axes (data, fsdp, tensor); groups that do not fill a row of `fsdp` stay idle.
    """
    rings = device_groups(topology, groups, layout, devices)
    shape = layout.shape(len(rings))
    return _mesh(shape, [device for ring in rings[: shape[0] * shape[1]] for device in ring])


def stand_in(shape: tuple[int, int, int], devices: Sequence[jax.Device]) -> Mesh:
    """A mesh of the given shape on the first devices at hand: what programs are compiled
    against.
    """
    return _mesh(shape, devices[: math.prod(shape)])


def _mesh(shape: tuple[int, ...], devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))
