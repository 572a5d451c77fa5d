"""What the hardware is and can do: k-hop rings, optical switches, faults, placement. No jax.

>>> from parallel.fabric import KHopRing, place
>>> place(KHopRing(num_nodes=8, hops=2), failed={3, 6}, nodes_per_group=2).groups
((0, 1), (2, 4), (5, 7))
"""

from parallel.fabric import baselines, prices, trace
from parallel.fabric.dcn import FatTree, Job, Traffic, traffic
from parallel.fabric.detour import Damage, place_around
from parallel.fabric.faults import Fault, FaultPlan
from parallel.fabric.live import LivePlacement
from parallel.fabric.orchestration import Orchestration, orchestrate
from parallel.fabric.placement import Placement, place, rearrange, rings_changed
from parallel.fabric.switchboard import Circuit, Command, Switchboard, Switching
from parallel.fabric.topology import (
    Gpu,
    KHopLine,
    KHopRing,
    Nodes,
    Topology,
    gpu_order,
    ring_order,
)
from parallel.fabric.transceiver import Health, OCSTrx

__all__ = [
    # the machine
    "Gpu",
    "KHopLine",
    "KHopRing",
    "Nodes",
    "Topology",
    "gpu_order",
    "ring_order",
    # its optical switches
    "Circuit",
    "Command",
    "Health",
    "OCSTrx",
    "Switchboard",
    "Switching",
    # faults
    "Damage",
    "Fault",
    "FaultPlan",
    "trace",
    # rings of the healthy nodes
    "LivePlacement",
    "Placement",
    "place",
    "place_around",
    "rearrange",
    "rings_changed",
    # the data-centre network between rings
    "FatTree",
    "Job",
    "Orchestration",
    "Traffic",
    "orchestrate",
    "traffic",
    # other machines, and what they cost
    "baselines",
    "prices",
]
