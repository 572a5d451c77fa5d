"""What a layer asks of the devices that compute it together.

The model does not know the mesh. Activations between layers are split along the sequence over the
devices of a tensor-parallel group; at the few places where a layer needs more than its own part, it
calls the group. On one device these calls do nothing; on a mesh they are ring collectives with the
same methods.
"""

from typing import Protocol


class Group(Protocol):
    """The devices that share a layer's weights."""

    size: int

    def rank(self):
        """This device's place in the group, 0 to size - 1."""

    def gather(self, x_block, dim: int):
        """[..., n, ...] -> [..., size n, ...]: the parts of all devices along `dim`."""

    def scatter_sum(self, x, dim: int):
        """[..., size n, ...] -> [..., n, ...]: the sum over devices; each keeps its part of it."""


class Alone:
    """A group of one device."""

    size = 1

    def rank(self):
        return 0

    def gather(self, x_block, dim: int):
        return x_block

    def scatter_sum(self, x, dim: int):
        return x
