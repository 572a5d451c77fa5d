"""Dollars and watts of each interconnect, and what a GPU costs once those that stand idle are paid
for.
"""

from collections.abc import Iterable

from parallel.fabric.prices import aggregate_dollars, interconnect
from parallel.planner.replay import Cluster, contenders, drawn, waste

UNPRICED = ("big_switch", "sip_ring")


def cost(
    cluster: Cluster,
    tensor: int,
    hops: Iterable[int],
    fault_ratios: list[float],
    draws: int,
    seed: int,
    gpu_dollars: float,
) -> list[dict]:
    """A row per architecture; its aggregate cost is given at each fault ratio."""
    names = [name for name in contenders(hops) if name not in UNPRICED]
    aggregate: dict[str, list[float]] = {name: [] for name in names}
    for ratio in fault_ratios:
        for row in waste(cluster, drawn(cluster, ratio, draws, seed), names, [tensor]):
            parts = interconnect(row["architecture"], cluster.gpus_per_node)
            aggregate[row["architecture"]].append(
                aggregate_dollars(parts, gpu_dollars, row["mean"], ratio)
            )
    reference = interconnect("nvl72")
    rows = []
    for name in names:
        parts = interconnect(name, cluster.gpus_per_node)
        per_gbps = parts.dollars / parts.bandwidth
        rows.append(
            {"architecture": name, "dollars_per_gpu": parts.dollars, "watts_per_gpu": parts.watts}
            | {"dollars_per_gbps": per_gbps, "watts_per_gbps": parts.watts / parts.bandwidth}
            | {"of_nvl72": per_gbps / (reference.dollars / reference.bandwidth)}
            | {"fault_ratios": fault_ratios, "aggregate_dollars_per_gpu": aggregate[name]}
        )
    return rows


def crossing(ratios: list[float], a: list[float], b: list[float]) -> float | None:
    """The first ratio at which `b`, dearer before, becomes cheaper than `a`; None if it does not.

    >>> crossing([0.0, 0.1, 0.2], [1.0, 2.0, 3.0], [2.0, 2.5, 2.0])
    0.13333333333333333
    """
    gaps = [y - x for x, y in zip(a, b, strict=True)]
    for i in range(1, len(gaps)):
        if gaps[i - 1] > 0 >= gaps[i]:
            return ratios[i - 1] + (ratios[i] - ratios[i - 1]) * gaps[i - 1] / (
                gaps[i - 1] - gaps[i]
            )
    return None
