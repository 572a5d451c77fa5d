"""What the interconnect of one GPU costs, in dollars and watts: parts, and how many of them a GPU
needs.

Prices and counts are those with which InfinitePOD's cost table (arXiv 2502.03885) comes out to the
cent. What the sources do not give is left out: a price for SiP-Ring, for Alibaba HPN, and for the
cables of NVL-36x2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from parallel.fabric.topology import bundles_for, check_bundles


@dataclass(frozen=True)
class Part:
    dollars: float
    watts: float = 0.0


OCSTRX = Part(600, 12)
FIBRE = Part(6.8)
DAC_6400 = Part(199.6, 0.1)  # 6.4 Tbps: between two GPUs of a node
OCS = Part(80_000, 108)  # a switch of 136 ports
TPU_OPTICS = Part(360, 12)
TPU_DAC = Part(63.6, 0.1)
NVLINK_SWITCH = Part(28_000, 275)
NVLINK_CABLE = Part(35.6, 0.1)
NVLINK_OPTICS = Part(850, 25)  # between racks


@dataclass(frozen=True)
class Interconnect:
    """Parts per GPU, and what they give it: bandwidth in GB per second."""

    parts: Mapping[Part, float]
    bandwidth: float

    @property
    def dollars(self) -> float:
        return sum(part.dollars * count for part, count in self.parts.items())

    @property
    def watts(self) -> float:
        return sum(part.watts * count for part, count in self.parts.items())


def khop(hops: int, gpus_per_node: int = 4) -> Interconnect:
    """K of the R bundle positions of a node (two for K = 1) carry 8 OCSTrx, each with a fibre.

    The others carry plain cables, of which the table counts two.
    """
    if hops < 1:
        raise ValueError(f"hops={hops} is no reach: a wire leads at least 1 node on.")
    check_bundles(hops, gpus_per_node)
    bundles = bundles_for(hops)
    optics = 8 * bundles / gpus_per_node
    cables = 2 * (gpus_per_node - bundles) / gpus_per_node
    parts = MappingProxyType({OCSTRX: optics, FIBRE: optics, DAC_6400: cables})
    return Interconnect(parts, bandwidth=800)


NVL = Interconnect(MappingProxyType({NVLINK_SWITCH: 0.25, NVLINK_CABLE: 72}), bandwidth=900)
PRICED = {
    "tpuv4": Interconnect(
        MappingProxyType({OCS: 48 / 4096, TPU_OPTICS: 1.5, FIBRE: 1.5, TPU_DAC: 1.25}), 300
    ),
    "nvl36": NVL,
    "nvl72": NVL,
    "nvl576": Interconnect(
        MappingProxyType({NVLINK_SWITCH: 0.75, NVLINK_CABLE: 72, NVLINK_OPTICS: 8, FIBRE: 8}), 900
    ),
}


def interconnect(name: str, gpus_per_node: int = 4) -> Interconnect:
    """By its name.

    >>> round(interconnect("khop2").dollars, 2), round(interconnect("nvl72").dollars / 900, 2)
    (2626.8, 10.63)
    """
    reach = re.fullmatch(r"khop([1-9]\d*)", name)
    if reach:
        return khop(int(reach[1]), gpus_per_node)
    if name not in PRICED:
        raise ValueError(f"no price is known for {name!r}: take {', '.join(PRICED)} or khopK.")
    return PRICED[name]


def aggregate_dollars(
    found: Interconnect, gpu_dollars: float, waste: float, faulty: float
) -> float:
    """Per GPU bought: its interconnect, and its share of the GPUs that stand idle."""
    return found.dollars + gpu_dollars * (waste + faulty)
