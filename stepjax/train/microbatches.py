"""How the microbatches of a global batch lie on the rings of a mesh, and how results come back.

Microbatch m is computed on ring m % num_rings. Every ring has as many slots as the fullest one
needs; slots that are left over hold zeros.
"""

from collections.abc import Mapping

import numpy as np
from einops import rearrange


def num_slots(microbatches: int, num_rings: int) -> int:
    """Slots for microbatches on each ring, at least two.

    With a single slot, every turn of the loop reads the same place. XLA then moves the body out of
    the loop, where it may compile to other arithmetic than on a mesh of fewer rings.
    """
    return max(2, -(-microbatches // num_rings))


def in_microbatches(
    arrays: Mapping[str, np.ndarray], rows: int, num_rings: int
) -> dict[str, np.ndarray]:
    """[M * rows, ...] -> [num_rings * slots, rows, ...], the slots of one ring after another.

    >>> x = np.arange(6)
    >>> in_microbatches({"x": x}, rows=2, num_rings=2)["x"].tolist()
    [[0, 1], [4, 5], [2, 3], [0, 0]]
    """

    def split(x):
        x = x.reshape(-1, rows, *x.shape[1:])
        slots = num_slots(len(x), num_rings)
        x = np.pad(x, [(0, slots * num_rings - len(x))] + [(0, 0)] * (x.ndim - 1))
        return rearrange(x, "(slot ring) ... -> (ring slot) ...", ring=num_rings)

    return {name: split(x) for name, x in arrays.items()}


def in_order(results: np.ndarray, num_rings: int) -> np.ndarray:
    """[num_rings * slots, ...] as rings hold them -> the same in the order of the batch."""
    return rearrange(results, "(ring slot) ... -> (slot ring) ...", ring=num_rings)
