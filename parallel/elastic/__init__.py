"""Staying alive: notice lost nodes, form the next mesh, rebuild the state from what survived."""

from parallel.elastic.inject import EmulatedCluster, NodeFailure
from parallel.elastic.membership import Members, Membership
from parallel.elastic.recovery import StateLost, covers, reassemble
from parallel.elastic.snapshot import Snapshot, keep, keepers, replicas
from parallel.elastic.supervisor import Generation, NotEnoughNodes, Stopwatch, Supervisor

__all__ = [
    # the nodes
    "EmulatedCluster",
    "Members",
    "Membership",
    "NodeFailure",
    # the mesh after a fault
    "Generation",
    "NotEnoughNodes",
    "Stopwatch",
    "Supervisor",
    # the state after a fault
    "Snapshot",
    "StateLost",
    "covers",
    "keep",
    "keepers",
    "reassemble",
    "replicas",
]
