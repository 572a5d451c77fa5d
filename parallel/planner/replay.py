"""A cluster replayed through faults: how much of it each architecture can use, and for how long.

State t of a cluster is alive[t, n], node by node, with a weight: the days it lasts, or 1 for drawn
states. A draw is one way to lay the faults on the cluster; all draws weigh the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parallel.fabric.baselines import architecture
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

STATES = 128  # of a draw, where faults are drawn at a ratio


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


class States(NamedTuple):
    """One draw."""

    alive: np.ndarray
    weight: np.ndarray


def contenders(hops: Iterable[int]) -> list[str]:
    """The architectures that are compared, the ideal first and k-hop fabrics next."""
    return [
        "big_switch",
        *(f"khop{k}" for k in hops),
        "nvl36",
        "nvl72",
        "nvl576",
        "tpuv4",
        "sip_ring",
    ]


def generator(seed: int, draw: int, stream: int = 0) -> np.random.Generator:
    """Draw i is the same however many draws there are, and whatever else is drawn in another
    stream.
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
            "must be a multiple "
            f"of {GPUS_PER_SERVER}, and gpus_per_node={cluster.gpus_per_node} a divisor."
        )
    rng, servers = generator(seed, draw), cluster.num_gpus // GPUS_PER_SERVER
    if trace is None:
        drawn, share = random_trace(servers, DAYS, PUBLISHED, rng), PUBLISHED.faulty_share
    else:
        drawn, share = pick(trace, servers, rng), trace.faulty_share
    return split(drawn, parts, rng, share)


def replayed(cluster: Cluster, trace: Trace | None, draws: int, seed: int) -> list[States]:
    """All states that faults over time bring about, weighted by how long they last."""
    check_draws(draws)
    lines = (timeline(outages(cluster, trace, seed, draw)) for draw in range(draws))
    return [States(line.alive, line.lasts) for line in lines]


def drawn(cluster: Cluster, fault_ratio: float, draws: int, seed: int) -> list[States]:
    """States in which every node is faulty with this probability, on its own."""
    check_draws(draws)
    alive = (
        iid_faults(cluster.num_nodes, fault_ratio, STATES, generator(seed, draw))
        for draw in range(draws)
    )
    return [States(states, np.ones(STATES)) for states in alive]


def usable(cluster: Cluster, name: str, tensor: int, alive: np.ndarray) -> np.ndarray:
    """Share of all GPUs that are in rings, in each state."""
    return (
        architecture(name).num_groups(alive, cluster.gpus_per_node, tensor)
        * tensor
        / cluster.num_gpus
    )


def waste(
    cluster: Cluster, draws: Sequence[States], names: Iterable[str], tensors: Iterable[int]
) -> list[dict]:
    """Healthy GPUs in no ring, as a share of all GPUs: over time, in all draws together."""
    weight = np.concatenate([states.weight / states.weight.sum() for states in draws])
    rows = []
    for name in names:
        for tensor in tensors:
            shares = [
                states.alive.mean(axis=1) - usable(cluster, name, tensor, states.alive)
                for states in draws
            ]
            means = [
                np.average(share, weights=states.weight)
                for share, states in zip(shares, draws, strict=True)
            ]
            pooled = np.concatenate(shares)
            p50, p99 = quantiles(pooled, weight, (0.5, 0.99))
            rows.append(
                {
                    "architecture": name,
                    "tensor": tensor,
                    "mean": float(np.mean(means)),
                    "p50": p50,
                    "p99": p99,
                }
                | {"max": float(pooled.max()), "sd_over_draws": deviation(means)}
            )
    return rows


def waste_vs_fault_ratio(
    cluster: Cluster,
    fault_ratios: Iterable[float],
    draws: int,
    seed: int,
    names: list[str],
    tensors: list[int],
) -> list[dict]:
    return [
        {"architecture": row["architecture"], "tensor": row["tensor"], "fault_ratio": ratio} | row
        for ratio in fault_ratios
        for row in waste(cluster, drawn(cluster, ratio, draws, seed), names, tensors)
    ]


def job_scale(
    cluster: Cluster, draws: Sequence[States], names: Iterable[str], tensors: Iterable[int]
) -> list[dict]:
    """The largest job, as a share of all GPUs: in the mean over time, and the one that could always
    run.
    """
    rows = []
    for name in names:
        for tensor in tensors:
            shares = [usable(cluster, name, tensor, states.alive) for states in draws]
            means = [
                np.average(share, weights=states.weight)
                for share, states in zip(shares, draws, strict=True)
            ]
            least = np.mean(
                [
                    share[states.weight > 0].min()
                    for share, states in zip(shares, draws, strict=True)
                ]
            )
            rows.append(
                {"architecture": name, "tensor": tensor, "usable_mean": float(np.mean(means))}
                | {"usable_min": float(least), "sd_over_draws": deviation(means)}
            )
    return rows


def waiting(
    cluster: Cluster,
    draws: Sequence[States],
    names: Iterable[str],
    tensors: Iterable[int],
    job_shares: Iterable[float],
) -> list[dict]:
    """Share of the time in which a job of `job_share` of all GPUs, in whole rings, finds too few of
    them.
    """
    rows = []
    for name in names:
        for tensor in tensors:
            shares = [usable(cluster, name, tensor, states.alive) for states in draws]
            for job_share in job_shares:
                needed = groups_of_job(cluster, tensor, job_share) * tensor / cluster.num_gpus
                waits = [
                    np.average(share < needed - 1e-12, weights=states.weight)
                    for share, states in zip(shares, draws, strict=True)
                ]
                rows.append(
                    {"architecture": name, "tensor": tensor, "job_share": job_share}
                    | {"waiting": float(np.mean(waits)), "sd_over_draws": deviation(waits)}
                )
    return rows


def groups_of_job(cluster: Cluster, tensor: int, job_share: float) -> int:
    """Whole rings in this share of the cluster; at least one."""
    if not 0 < job_share <= 1:
        raise ValueError(
            f"job_scale={job_share} is no share of the cluster: it must lie above 0 and not above "
            "1."
        )
    return max(1, int(job_share * cluster.num_gpus / tensor + 1e-9))


def quantiles(values: np.ndarray, weight: np.ndarray, shares: Iterable[float]) -> list[float]:
    """The least value that is not exceeded for each share of the weight.

    >>> quantiles(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), (0.25, 0.5, 1.0))
    [1.0, 2.0, 3.0]
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    places = np.searchsorted(reached, np.array(list(shares)) - 1e-12).clip(max=len(values) - 1)
    return values[order][places].tolist()


def deviation(means: Sequence[float]) -> float:
    """Standard deviation over draws; 0 for a single one."""
    return float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def check_draws(draws: int) -> None:
    if draws < 1:
        raise ValueError(f"draws={draws} leaves nothing to look at: take at least 1.")
