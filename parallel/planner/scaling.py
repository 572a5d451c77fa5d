"""How long placement takes as fabrics grow: all of it at once, and one node lost or back."""

import time
import timeit
from collections.abc import Callable

import numpy as np

from parallel.fabric.baselines import check_tensor
from parallel.fabric.live import LivePlacement
from parallel.fabric.placement import place
from parallel.fabric.topology import KHopRing
from parallel.fabric.trace import iid_faults
from parallel.planner.replay import generator

SMALLEST = 1000  # nodes
CHANGES = 100  # nodes lost, and then back, one at a time; the median counts
REPEATS = 3  # of a full placement; the fastest counts


def orchestrate(
    num_nodes: int, gpus_per_node: int, tensor: int, hops: int, fault_ratio: float, seed: int
) -> list[dict]:
    """A row for every size from 1,000 nodes, in steps of about three, to `num_nodes`."""
    check_tensor(gpus_per_node, tensor)
    return [
        timed(size, max(1, tensor // gpus_per_node), hops, fault_ratio, seed)
        for size in sizes(num_nodes)
    ]


def sizes(num_nodes: int) -> list[int]:
    """
    >>> sizes(1_000_000)
    [1000, 3000, 10000, 30000, 100000, 300000, 1000000]
    """
    steps = (step * 10**power for power in range(3, 12) for step in (1, 3))
    return [*(step for step in steps if SMALLEST <= step < num_nodes), num_nodes]


def timed(num_nodes: int, nodes_per_group: int, hops: int, fault_ratio: float, seed: int) -> dict:
    """One row. Times are CPU seconds of this process, so other work on the machine does not
    count.
    """
    ring, rng = KHopRing(num_nodes, hops), generator(seed, num_nodes)
    failed = np.flatnonzero(~iid_faults(num_nodes, fault_ratio, 1, rng)[0])
    full = [seconds(lambda: place(ring, failed, nodes_per_group)) for _ in range(REPEATS)]
    live, healthy = (
        LivePlacement(ring, failed, nodes_per_group),
        np.setdiff1d(np.arange(num_nodes), failed),
    )
    groups, times, changed = len(live), [], []
    for node in rng.choice(healthy, min(CHANGES, len(healthy)), replace=False).tolist():
        times.append(seconds(lambda: changed.append(live.lose(node).rings_changed)))
        times.append(seconds(lambda: changed.append(live.back(node).rings_changed)))
    return {
        "num_nodes": num_nodes,
        "fault_ratio": fault_ratio,
        "seconds_full": min(full),
        "seconds_incremental": float(np.median(times)),
        "seconds_incremental_worst": max(times),
        "groups": groups,
        "rings_changed": float(np.mean(changed)),
        "rings_changed_worst": max(changed),
    }


def seconds(work: Callable[[], object]) -> float:
    return timeit.timeit(work, timer=time.process_time, number=1)
