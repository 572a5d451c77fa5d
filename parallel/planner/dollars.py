"""Dollars and watts of each interconnect, and what a GPU costs once those that stand idle are paid
for.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from parallel.fabric.prices import aggregate_dollars, interconnect
from parallel.planner.replay import contenders, waste
from parallel.planner.worlds import Cluster, at_ratio

UNPRICED = ("big_switch", "sip_ring")


class CostRow(NamedTuple):
    """`aggregate_dollars_per_gpu` holds a number for each of `fault_ratios`."""

    architecture: str
    dollars_per_gpu: float
    watts_per_gpu: float
    dollars_per_gbps: float
    watts_per_gbps: float
    of_nvl72: float  # dollars per GBps, as a share of those of NVL-72
    fault_ratios: tuple[float, ...]
    aggregate_dollars_per_gpu: tuple[float, ...]


def cost(
    cluster: Cluster,
    tensor: int,
    hops: Iterable[int],
    fault_ratios: Sequence[float],
    draws: int,
    seed: int,
    gpu_dollars: float,
) -> list[CostRow]:
    """A row per architecture."""
    names = [name for name in contenders(hops) if name not in UNPRICED]
    aggregate: dict[str, list[float]] = {name: [] for name in names}
    for ratio in fault_ratios:
        for row in waste(cluster, at_ratio(cluster, ratio, draws, seed), names, [tensor]):
            parts = interconnect(row.architecture, cluster.gpus_per_node)
            dollars = aggregate_dollars(parts, gpu_dollars, row.mean, ratio)
            aggregate[row.architecture].append(dollars)
    return [_row(name, cluster, tuple(fault_ratios), tuple(aggregate[name])) for name in names]


def _row(name: str, cluster: Cluster, ratios: tuple, aggregate: tuple) -> CostRow:
    parts, reference = interconnect(name, cluster.gpus_per_node), interconnect("nvl72")
    per_gbps = parts.dollars / parts.bandwidth
    watts_per_gbps = parts.watts / parts.bandwidth
    of_nvl72 = per_gbps / (reference.dollars / reference.bandwidth)
    return CostRow(
        name, parts.dollars, parts.watts, per_gbps, watts_per_gbps, of_nvl72, ratios, aggregate
    )


def crossing(ratios: Sequence[float], a: Sequence[float], b: Sequence[float]) -> float | None:
    """The first ratio at which `b`, dearer before, becomes cheaper than `a`; None if it does not.

    >>> crossing([0.0, 0.1, 0.2], [1.0, 2.0, 3.0], [2.0, 2.5, 2.0])
    0.13333333333333333
    """
    gaps = [y - x for x, y in zip(a, b, strict=True)]
    for i in range(1, len(gaps)):
        before, after = gaps[i - 1], gaps[i]
        if before > 0 >= after:
            return ratios[i - 1] + (ratios[i] - ratios[i - 1]) * before / (before - after)
    return None
