"""A cluster replayed through faults: how much of it each architecture can use, and for how long."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from parallel.fabric.baselines import architecture
from parallel.planner.worlds import Cluster, World, at_ratio, deviation, means, quantiles


class WasteRow(NamedTuple):
    """Healthy GPUs in no ring, as a share of all GPUs."""

    architecture: str
    tensor: int
    mean: float
    p50: float
    p99: float
    max: float
    sd_over_draws: float


class WasteAtRatioRow(NamedTuple):
    """A WasteRow at one ratio of faulty nodes."""

    architecture: str
    tensor: int
    fault_ratio: float
    mean: float
    p50: float
    p99: float
    max: float
    sd_over_draws: float


class JobScaleRow(NamedTuple):
    """The largest job, as a share of all GPUs: in the mean over time, and one that always runs."""

    architecture: str
    tensor: int
    usable_mean: float
    usable_min: float
    sd_over_draws: float


class WaitingRow(NamedTuple):
    """Share of the time in which a job of `job_share` of all GPUs finds too few of them."""

    architecture: str
    tensor: int
    job_share: float
    waiting: float
    sd_over_draws: float


class Replay(NamedTuple):
    """One architecture in all worlds: `usable[i][t]` is the share of all GPUs that are in rings in
    state t of draw i.
    """

    architecture: str
    tensor: int
    usable: list[np.ndarray]


def contenders(hops: Iterable[int]) -> list[str]:
    """The architectures that are compared, the ideal first and k-hop fabrics next."""
    khop = [f"khop{k}" for k in hops]
    return ["big_switch", *khop, "nvl36", "nvl72", "nvl576", "tpuv4", "sip_ring"]


def replays(
    cluster: Cluster, worlds: Sequence[World], names: Iterable[str], tensors: Iterable[int]
) -> Iterator[Replay]:
    """Each architecture with each size of a ring."""
    for name, tensor in product(names, tensors):
        built, size = architecture(name), cluster.gpus_per_node
        groups = [built.num_groups(world.alive, size, tensor) for world in worlds]
        yield Replay(name, tensor, [each * tensor / cluster.num_gpus for each in groups])


def waste(
    cluster: Cluster, worlds: Sequence[World], names: Iterable[str], tensors: Iterable[int]
) -> list[WasteRow]:
    """Over time, in all draws together."""
    weight = np.concatenate([world.weight / world.weight.sum() for world in worlds])
    healthy = [world.alive.mean(axis=1) for world in worlds]
    rows = []
    for name, tensor, usable in replays(cluster, worlds, names, tensors):
        idle = [have - used for have, used in zip(healthy, usable, strict=True)]
        of_draws, pooled = means(idle, worlds), np.concatenate(idle)
        p50, p99 = quantiles(pooled, weight, (0.5, 0.99))
        mean, most = float(np.mean(of_draws)), float(pooled.max())
        rows.append(WasteRow(name, tensor, mean, p50, p99, most, deviation(of_draws)))
    return rows


def waste_vs_fault_ratio(
    cluster: Cluster,
    fault_ratios: Iterable[float],
    draws: int,
    seed: int,
    names: Sequence[str],
    tensors: Sequence[int],
) -> list[WasteAtRatioRow]:
    return [
        WasteAtRatioRow(row.architecture, row.tensor, ratio, *row[2:])
        for ratio in fault_ratios
        for row in waste(cluster, at_ratio(cluster, ratio, draws, seed), names, tensors)
    ]


def job_scale(
    cluster: Cluster, worlds: Sequence[World], names: Iterable[str], tensors: Iterable[int]
) -> list[JobScaleRow]:
    rows = []
    for name, tensor, usable in replays(cluster, worlds, names, tensors):
        least = [used[w.weight > 0].min() for used, w in zip(usable, worlds, strict=True)]
        of_draws = means(usable, worlds)
        mean, always = float(np.mean(of_draws)), float(np.mean(least))
        rows.append(JobScaleRow(name, tensor, mean, always, deviation(of_draws)))
    return rows


def waiting(
    cluster: Cluster,
    worlds: Sequence[World],
    names: Iterable[str],
    tensors: Iterable[int],
    job_scales: Iterable[float],
) -> list[WaitingRow]:
    """The job takes whole rings."""
    rows = []
    replayed = replays(cluster, worlds, names, tensors)
    for (name, tensor, usable), scale in product(replayed, job_scales):
        needed = cluster.num_groups(tensor, scale) * tensor / cluster.num_gpus
        waits = means([used < needed - 1e-12 for used in usable], worlds)
        rows.append(WaitingRow(name, tensor, scale, float(np.mean(waits)), deviation(waits)))
    return rows
