"""How much of a job's traffic crosses ToRs, by the algorithm that places its rings."""

from collections.abc import Iterable, Sequence

import numpy as np

from parallel.fabric.baselines import check_tensor
from parallel.fabric.dcn import FatTree, Job
from parallel.fabric.orchestration import ALGORITHMS, orchestrate
from parallel.fabric.topology import KHopRing
from parallel.fabric.trace import iid_faults
from parallel.planner.replay import Cluster, check_draws, deviation, generator, groups_of_job


def cross_tor(
    cluster: Cluster,
    job: dict,
    tree: dict,
    tensor: int,
    hops: int,
    points: Iterable[tuple[float, float]],
    draws: int,
    seed: int,
) -> list[dict]:
    """A row per algorithm for each (fault ratio, job scale), the mean over draws.

    Args:
      job: fields of `Job` other than its size.
      tree: fields of `FatTree` other than its size.
    """
    check_tensor(cluster.gpus_per_node, tensor)
    check_draws(draws)
    ring, dcn = KHopRing(cluster.num_nodes, hops), FatTree(cluster.num_nodes, **tree)
    rows = []
    for fault_ratio, job_scale in points:
        wanted = Job(groups_of_job(cluster, tensor, job_scale), tensor, **job)
        alive = [
            iid_faults(cluster.num_nodes, fault_ratio, 1, generator(seed, draw))[0]
            for draw in range(draws)
        ]
        for algorithm in ALGORITHMS:
            found = [
                orchestrate(
                    algorithm,
                    ring,
                    dcn,
                    np.flatnonzero(~state),
                    tensor // cluster.gpus_per_node,
                    wanted,
                )
                for state in alive
            ]
            rows.append(
                {"algorithm": algorithm, "tensor": tensor, "hops": hops, "fault_ratio": fault_ratio}
                | {
                    "job_scale": job_scale,
                    "cross_tor": float(np.mean([f.traffic.cross_tor for f in found])),
                }
                | {"cross_tor_of_all": float(np.mean([f.traffic.cross_tor_of_all for f in found]))}
                | {"sd_over_draws": deviation([f.traffic.cross_tor for f in found])}
                | {
                    "groups": float(np.mean([f.num_groups for f in found])),
                    "groups_wanted": wanted.num_groups,
                }
            )
    return rows


def sweeps(
    fault_ratios: Sequence[float], job_scales: Sequence[float], fault_ratio: float
) -> list[tuple[float, float]]:
    """(fault ratio, job scale): all ratios at the middle scale, then all scales at one ratio.

    >>> sweeps([0.0, 0.1], [0.8, 0.85, 0.9], 0.05)
    [(0.0, 0.85), (0.1, 0.85), (0.05, 0.8), (0.05, 0.85), (0.05, 0.9)]
    """
    middle = sorted(job_scales)[len(job_scales) // 2]
    points = [(ratio, middle) for ratio in fault_ratios] + [
        (fault_ratio, scale) for scale in job_scales
    ]
    return list(dict.fromkeys(points))
