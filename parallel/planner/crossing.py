"""How much of a job's traffic crosses ToRs, by the algorithm that places its rings."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from parallel.fabric.baselines import check_tensor
from parallel.fabric.dcn import FatTree, Job
from parallel.fabric.orchestration import ALGORITHMS, orchestrate
from parallel.fabric.topology import KHopRing
from parallel.fabric.trace import iid_faults
from parallel.planner.worlds import Cluster, check_draws, deviation, generator


class CrossTorRow(NamedTuple):
    """Means over draws; traffic as a share of the DCN's, and of all."""

    algorithm: str
    tensor: int
    hops: int
    fault_ratio: float
    job_scale: float
    cross_tor: float
    cross_tor_of_all: float
    sd_over_draws: float
    groups: float
    groups_wanted: int


def cross_tor(
    cluster: Cluster,
    job: Mapping,
    tree: Mapping,
    tensor: int,
    hops: int,
    points: Iterable[tuple[float, float]],
    draws: int,
    seed: int,
) -> list[CrossTorRow]:
    """A row per algorithm for each (fault ratio, job scale).

    Args:
      job: fields of `Job` other than its size.
      tree: fields of `FatTree` other than its size.
    """
    check_tensor(cluster.gpus_per_node, tensor)
    check_draws(draws)
    ring, dcn = KHopRing(cluster.num_nodes, hops), FatTree(cluster.num_nodes, **tree)
    nodes_per_group = tensor // cluster.gpus_per_node
    rows = []
    for (fault_ratio, job_scale), algorithm in product(points, ALGORITHMS):
        wanted = Job(cluster.num_groups(tensor, job_scale), tensor, **job)
        found = [
            orchestrate(algorithm, ring, dcn, failed, nodes_per_group, wanted)
            for failed in _failed(cluster.num_nodes, fault_ratio, draws, seed)
        ]
        crosses = [each.traffic.cross_tor for each in found]
        of_all = float(np.mean([each.traffic.cross_tor_of_all for each in found]))
        groups = float(np.mean([each.num_groups for each in found]))
        rows.append(
            CrossTorRow(
                algorithm, tensor, hops, fault_ratio, job_scale, float(np.mean(crosses)), of_all,
                deviation(crosses), groups, wanted.num_groups,
            )
        )  # fmt: skip
    return rows


def _failed(num_nodes: int, fault_ratio: float, draws: int, seed: int) -> list[np.ndarray]:
    """One set of faulty nodes for each draw."""
    alive = (iid_faults(num_nodes, fault_ratio, 1, generator(seed, draw)) for draw in range(draws))
    return [np.flatnonzero(~states[0]) for states in alive]


def sweeps(
    fault_ratios: Sequence[float], job_scales: Sequence[float], fault_ratio: float
) -> list[tuple[float, float]]:
    """(fault ratio, job scale): all ratios at the middle scale, then all scales at one ratio.

    >>> sweeps([0.0, 0.1], [0.8, 0.85, 0.9], 0.05)
    [(0.0, 0.85), (0.1, 0.85), (0.05, 0.8), (0.05, 0.85), (0.05, 0.9)]
    """
    middle = sorted(job_scales)[len(job_scales) // 2]
    points = [(ratio, middle) for ratio in fault_ratios]
    points += [(fault_ratio, scale) for scale in job_scales]
    return list(dict.fromkeys(points))
