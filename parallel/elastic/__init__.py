"""Staying alive: notice lost nodes, form the next mesh, rebuild the state from what survived."""

from parallel.elastic.cluster import Cluster, NodeFailure, Rebuilt
from parallel.elastic.emulated import EmulatedCluster
from parallel.elastic.formation import Formation, Generation, NotEnoughNodes, Rings, Stopwatch
from parallel.elastic.membership import Members, Membership
from parallel.elastic.recovery import StateLost, covers, reassemble
from parallel.elastic.runtime import Job, Recovered, Runtime, Survived
from parallel.elastic.snapshot import Snapshot, keep, keepers, replicas

__all__ = [
    # a run that survives
    "Job",
    "Recovered",
    "Runtime",
    "Survived",
    # the nodes
    "Cluster",
    "EmulatedCluster",
    "Members",
    "Membership",
    "NodeFailure",
    "Rebuilt",
    # the mesh after a fault
    "Formation",
    "Generation",
    "NotEnoughNodes",
    "Rings",
    "Stopwatch",
    # the state after a fault
    "Snapshot",
    "StateLost",
    "covers",
    "keep",
    "keepers",
    "reassemble",
    "replicas",
]
