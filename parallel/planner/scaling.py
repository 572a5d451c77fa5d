"""How long placement takes as fabrics grow: all of it at once, and one node lost or back."""

import time
import timeit
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from parallel.fabric.baselines import check_tensor
from parallel.fabric.live import LivePlacement
from parallel.fabric.placement import place
from parallel.fabric.topology import KHopRing
from parallel.fabric.trace import iid_faults
from parallel.planner.worlds import generator

SMALLEST = 1000  # nodes
CHANGES = 100  # nodes lost, and then back, one at a time; the median counts
REPEATS = 3  # of a full placement; the fastest counts


class PlacementTimeRow(NamedTuple):
    """CPU seconds of this process, so that other work on the machine does not count."""

    num_nodes: int
    fault_ratio: float
    seconds_full: float
    seconds_incremental: float  # the median of nodes lost and back
    seconds_incremental_worst: float
    groups: int
    rings_changed: float  # by one node, in the mean
    rings_changed_worst: int


def placement_time(
    num_nodes: int, gpus_per_node: int, tensor: int, hops: int, fault_ratio: float, seed: int
) -> list[PlacementTimeRow]:
    """A row for every size from 1,000 nodes, in steps of about three, to `num_nodes`."""
    check_tensor(gpus_per_node, tensor)
    nodes_per_group = max(1, tensor // gpus_per_node)
    return [timed(size, nodes_per_group, hops, fault_ratio, seed) for size in sizes(num_nodes)]


def sizes(num_nodes: int) -> list[int]:
    """
    >>> sizes(1_000_000)
    [1000, 3000, 10000, 30000, 100000, 300000, 1000000]
    """
    steps = (step * 10**power for power in range(3, 12) for step in (1, 3))
    return [*(step for step in steps if SMALLEST <= step < num_nodes), num_nodes]


def timed(
    num_nodes: int, nodes_per_group: int, hops: int, fault_ratio: float, seed: int
) -> PlacementTimeRow:
    ring, rng = KHopRing(num_nodes, hops), generator(seed, num_nodes)
    failed = np.flatnonzero(~iid_faults(num_nodes, fault_ratio, 1, rng)[0])
    full = [seconds(lambda: place(ring, failed, nodes_per_group)) for _ in range(REPEATS)]
    live = LivePlacement(ring, failed, nodes_per_group)
    healthy = np.setdiff1d(np.arange(num_nodes), failed)
    if not len(healthy):
        raise ValueError(
            f"fault_ratio={fault_ratio} leaves none of {num_nodes} nodes to lose: take a smaller "
            "one."
        )
    groups = len(live)
    times, changed = [], []
    for node in rng.choice(healthy, min(CHANGES, len(healthy)), replace=False).tolist():
        times.append(seconds(lambda: changed.append(live.lose(node).rings_changed)))
        times.append(seconds(lambda: changed.append(live.back(node).rings_changed)))
    return PlacementTimeRow(
        num_nodes, fault_ratio, min(full), float(np.median(times)), max(times),
        groups, float(np.mean(changed)), max(changed),
    )  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    return timeit.timeit(work, timer=time.process_time, number=1)
