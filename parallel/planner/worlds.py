"""Random worlds: the ways in which faults may lie on a cluster, and what is counted over them.

A draw is one world. State t of it is alive[t, n], node by node, with a weight: the days that it
lasts, or 1 where states are drawn one by one. All draws weigh the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parallel.fabric.trace import (
    DAYS,
    GPUS_PER_SERVER,
    PUBLISHED,
    Trace,
    iid_faults,
    pick,
    random_trace,
    split,
    timeline,
)

STATES = 128  # of a draw at a fault ratio


@dataclass(frozen=True)
class Cluster:
    """`num_gpus` GPUs in nodes of `gpus_per_node`."""

    num_gpus: int = 2880
    gpus_per_node: int = 4

    def __post_init__(self):
        if self.gpus_per_node < 1 or self.num_gpus < 1 or self.num_gpus % self.gpus_per_node:
            raise ValueError(
                f"num_gpus={self.num_gpus} are no whole number of nodes of "
                f"gpus_per_node={self.gpus_per_node}."
            )

    @property
    def num_nodes(self) -> int:
        return self.num_gpus // self.gpus_per_node

    def num_groups(self, tensor: int, job_scale: float) -> int:
        """Whole rings of `tensor` GPUs in a job of this share of all GPUs; at least one."""
        if not 0 < job_scale <= 1:
            raise ValueError(
                f"job_scale={job_scale} is no share of the cluster: it must lie above 0 and not "
                "above 1."
            )
        return max(1, int(job_scale * self.num_gpus / tensor + 1e-9))


class World(NamedTuple):
    """One draw."""

    alive: np.ndarray
    weight: np.ndarray


def generator(seed: int, draw: int, stream: int = 0) -> np.random.Generator:
    """The random numbers of one draw, which do not depend on how many draws there are, nor on what
    other streams are used for.
    """
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; take 0 or more.")
    return np.random.default_rng([seed, draw, stream])


def outages(cluster: Cluster, trace: Trace | None, seed: int, draw: int) -> Trace:
    """One way to lay a trace of 8-GPU servers on the cluster; without a trace, one at the published
    rates.
    """
    parts = GPUS_PER_SERVER // cluster.gpus_per_node
    if cluster.num_gpus % GPUS_PER_SERVER or GPUS_PER_SERVER % cluster.gpus_per_node:
        raise ValueError(
            f"faults are those of servers of {GPUS_PER_SERVER} GPUs: num_gpus={cluster.num_gpus} "
            f"must be a multiple of {GPUS_PER_SERVER}, and gpus_per_node={cluster.gpus_per_node} a "
            "divisor."
        )
    rng, servers = generator(seed, draw), cluster.num_gpus // GPUS_PER_SERVER
    if trace is None:
        drawn, faulty = random_trace(servers, DAYS, PUBLISHED, rng), PUBLISHED.faulty_share
    else:
        drawn, faulty = pick(trace, servers, rng), trace.faulty_share
    return split(drawn, parts, rng, faulty)


def over_time(cluster: Cluster, trace: Trace | None, draws: int, seed: int) -> list[World]:
    """All states that faults over time bring about, weighted by how long they last."""
    check_draws(draws)
    lines = (timeline(outages(cluster, trace, seed, draw)) for draw in range(draws))
    return [World(line.alive, line.lasts) for line in lines]


def at_ratio(cluster: Cluster, fault_ratio: float, draws: int, seed: int) -> list[World]:
    """States in which every node is faulty with this probability, on its own."""
    check_draws(draws)
    alive = (
        iid_faults(cluster.num_nodes, fault_ratio, STATES, generator(seed, draw))
        for draw in range(draws)
    )
    return [World(states, np.ones(STATES)) for states in alive]


def means(values: Sequence[np.ndarray], worlds: Sequence[World]) -> list[float]:
    """The mean of each draw over its states; values[i][t] belongs to state t of draw i."""
    return [
        float(np.average(each, weights=world.weight))
        for each, world in zip(values, worlds, strict=True)
    ]


def quantiles(values: np.ndarray, weight: np.ndarray, levels: Sequence[float]) -> list[float]:
    """For each level, the least value that this share of the weight does not exceed.

    >>> quantiles(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), (0.25, 0.5, 1.0))
    [1.0, 2.0, 3.0]
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    places = np.searchsorted(reached, np.array(levels) - 1e-12).clip(max=len(values) - 1)
    return values[order][places].tolist()


def deviation(means: Sequence[float]) -> float:
    """Standard deviation over draws; 0 for a single one."""
    return float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def check_draws(draws: int) -> None:
    if draws < 1:
        raise ValueError(f"draws={draws} leaves nothing to look at: take at least 1.")
