"""What runs on the devices: meshes on rings, one-hop collectives, exact sums, portable programs.

>>> from parallel.spmd import Layout
>>> Layout(tensor=4, fsdp=2).sizes(num_groups=5)
{'data': 2, 'fsdp': 2, 'tensor': 4}
"""

from parallel.spmd import audit, reduce
from parallel.spmd.executables import Portable, Program
from parallel.spmd.mesh import (
    AXES,
    DATA,
    FSDP,
    REPLICA_AXES,
    RING_AXES,
    TENSOR,
    Layout,
    make_mesh,
    num_rings,
    stand_in,
)
from parallel.spmd.ring import Ring, all_gather, all_reduce, reduce_scatter, send_to_next

__all__ = [
    # a mesh on rings
    "Layout",
    "make_mesh",
    "num_rings",
    "stand_in",
    # its axes
    "AXES",
    "DATA",
    "FSDP",
    "REPLICA_AXES",
    "RING_AXES",
    "TENSOR",
    # collectives on a ring
    "Ring",
    "all_gather",
    "all_reduce",
    "reduce_scatter",
    "send_to_next",
    # sums whose bits do not depend on grouping
    "reduce",
    # programs
    "Portable",
    "Program",
    "audit",
]
