"""The experiments by name: each has its settings as fields, and `run` gives the rows of its table.

The fields of an experiment are its part of configs/simulate.py, where they are explained.
"""

import abc
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise, product
from typing import Any, NamedTuple

from parallel.fabric.baselines import check_tensor
from parallel.fabric.faults import FaultPlan
from parallel.fabric.trace import Trace, read_trace
from parallel.planner import crossing, dollars, goodput, movie, page, replay, scaling, settings
from parallel.planner.worlds import Cluster, World, over_time

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Result:
    rows: Sequence[NamedTuple]
    notes: tuple[str, ...] = ()  # what to know about the rows
    pages: Mapping[str, str] = field(default_factory=dict)  # HTML by the name of its file


@dataclass(frozen=True)
class Recording:
    """A fault trace in a file, and the servers and days that it watches."""

    file: str
    num_nodes: int
    days: float

    def __post_init__(self):
        if ADDRESS.match(self.file):
            raise ValueError(
                f"trace.file={self.file} is an address: download the trace, and give the path of "
                "the copy."
            )

    def read(self) -> Trace | None:
        """The trace; None where no file is named."""
        if not self.file:
            return None
        return read_trace(os.path.expanduser(self.file), self.num_nodes, self.days)


@dataclass(frozen=True)
class JobShape:
    """Fields of `dcn.Job` other than its size."""

    peers: int
    parameters: float
    layers: int
    width: int
    tokens: int
    microbatches: int


@dataclass(frozen=True)
class TreeShape:
    """Fields of `dcn.FatTree` other than its size."""

    nodes_per_tor: int
    tors_per_domain: int


@dataclass(frozen=True)
class Experiment(abc.ABC):
    """Raises ValueError when it is made of values that do not fit each other."""

    @abc.abstractmethod
    def run(self) -> Result: ...

    def one(self, name: str) -> Any:
        """The only element of a tuple."""
        values = getattr(self, name)
        if len(values) != 1:
            raise ValueError(f"this experiment takes one value of {name}, not {len(values)}.")
        return values[0]


@dataclass(frozen=True)
class ClusterExperiment(Experiment):
    """An experiment on a cluster of GPUs, in `draws` random worlds."""

    num_gpus: int
    gpus_per_node: int
    tensor: tuple[int, ...]
    hops: tuple[int, ...]
    draws: int
    seed: int

    def __post_init__(self):
        for tensor in self.tensor:
            check_tensor(self.cluster.gpus_per_node, tensor)

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.num_gpus, self.gpus_per_node)

    @property
    def names(self) -> list[str]:
        return replay.contenders(self.hops)


@dataclass(frozen=True)
class TraceExperiment(ClusterExperiment):
    """An experiment on faults that follow one another in time."""

    trace: Recording

    def replayed(self) -> tuple[list[World], tuple[str, ...]]:
        """The worlds, and what to know about them."""
        trace = self.trace.read()
        return over_time(self.cluster, trace, self.draws, self.seed), about(trace)


class Waste(TraceExperiment):
    def run(self) -> Result:
        worlds, notes = self.replayed()
        return Result(replay.waste(self.cluster, worlds, self.names, self.tensor), notes)


@dataclass(frozen=True)
class WasteVsFaultRatio(ClusterExperiment):
    fault_ratios: tuple[float, ...]

    def run(self) -> Result:
        worlds = (self.fault_ratios, self.draws, self.seed)
        rows = replay.waste_vs_fault_ratio(self.cluster, *worlds, self.names, self.tensor)
        return Result(rows)


class JobScale(TraceExperiment):
    def run(self) -> Result:
        worlds, notes = self.replayed()
        return Result(replay.job_scale(self.cluster, worlds, self.names, self.tensor), notes)


@dataclass(frozen=True)
class Waiting(TraceExperiment):
    job_scales: tuple[float, ...]

    def run(self) -> Result:
        worlds, notes = self.replayed()
        jobs = (self.tensor, self.job_scales)
        return Result(replay.waiting(self.cluster, worlds, self.names, *jobs), notes)


@dataclass(frozen=True)
class CrossTor(ClusterExperiment):
    fault_ratio: float
    fault_ratios: tuple[float, ...]
    job_scales: tuple[float, ...]
    job: JobShape
    tree: TreeShape

    def run(self) -> Result:
        points = crossing.sweeps(self.fault_ratios, self.job_scales, self.fault_ratio)
        shapes = (asdict(self.job), asdict(self.tree))
        rows = []
        for tensor, hops in product(self.tensor, self.hops):
            rows += crossing.cross_tor(
                self.cluster, *shapes, tensor, hops, points, self.draws, self.seed
            )
        return Result(rows)


@dataclass(frozen=True)
class Cost(ClusterExperiment):
    fault_ratios: tuple[float, ...]
    gpu_dollars: float

    def run(self) -> Result:
        worlds = (self.fault_ratios, self.draws, self.seed)
        rows = dollars.cost(self.cluster, self.one("tensor"), self.hops, *worlds, self.gpu_dollars)
        khop = [row for row in rows if row.architecture.startswith("khop")]
        notes = [f"{row.architecture} costs {row.of_nvl72:.0%} of nvl72 per GBps." for row in khop]
        for few, more in pairwise(khop):
            aggregates = few.aggregate_dollars_per_gpu, more.aggregate_dollars_per_gpu
            ratio = dollars.crossing(self.fault_ratios, *aggregates)
            if ratio is not None:
                notes.append(
                    f"With idle GPUs paid for, {more.architecture} is cheaper than "
                    f"{few.architecture} from {ratio:.1%} of faults."
                )
        return Result(rows, tuple(notes))


@dataclass(frozen=True)
class PlacementTime(Experiment):
    num_nodes: int
    gpus_per_node: int
    tensor: tuple[int, ...]
    hops: tuple[int, ...]
    fault_ratio: float
    seed: int

    def run(self) -> Result:
        rings = (self.gpus_per_node, self.one("tensor"), self.one("hops"))
        rows = scaling.placement_time(self.num_nodes, *rings, self.fault_ratio, self.seed)
        return Result(rows, ("An incremental change is the median of nodes lost and back.",))


@dataclass(frozen=True)
class Goodput(TraceExperiment):
    job_scales: tuple[float, ...]
    recovery: goodput.Recovery
    measured: str  # a file whose times replace some of `recovery`

    def __post_init__(self):
        super().__post_init__()
        if self.measured:
            object.__setattr__(self, "recovery", goodput.measured(self.measured, self.recovery))

    def run(self) -> Result:
        trace, notes = self.trace.read(), ()
        if self.measured:
            notes = (
                f"As {self.measured} measured, a step takes {self.recovery.step:.3g} s and a "
                f"rebuild {self.recovery.rebuild:.3g} s.",
            )
        jobs = (self.names, self.tensor, self.job_scales)
        draws = (self.draws, self.seed)
        rows = goodput.goodput(self.cluster, trace, *jobs, self.recovery, *draws)
        return Result(rows, about(trace) + notes)


@dataclass(frozen=True)
class Movie(Experiment):
    num_nodes: int
    gpus_per_node: int
    tensor: tuple[int, ...]
    hops: tuple[int, ...]
    faults: str

    def run(self) -> Result:
        plan = FaultPlan.parse(self.faults)
        rings = (self.gpus_per_node, self.one("hops"), self.one("tensor"))
        shown = movie.frames(self.num_nodes, *rings, plan)
        return Result(
            [movie.row(frame) for frame in shown], pages={"movie.html": page.page(shown, plan)}
        )


EXPERIMENTS: dict[str, type[Experiment]] = {
    "waste": Waste,
    "waste_vs_fault_ratio": WasteVsFaultRatio,
    "job_scale": JobScale,
    "waiting": Waiting,
    "cross_tor": CrossTor,
    "cost": Cost,
    "placement_time": PlacementTime,
    "goodput": Goodput,
    "movie": Movie,
}


def experiment(name: str, config: Mapping[str, Any]) -> Experiment:
    """The experiment of this name, with the settings of its part of `config`."""
    if name not in EXPERIMENTS:
        raise ValueError(f"there is no experiment {name!r}: take one of {', '.join(EXPERIMENTS)}.")
    if name not in config:
        raise ValueError(f"the config has no part {name}: start from configs/simulate.py.")
    return settings.make(EXPERIMENTS[name], config[name], name)


def about(trace: Trace | None) -> tuple[str, ...]:
    if trace is None:
        return (
            "Faults are drawn at the rates of the published trace; --config.trace.file=FILE "
            "replays a recorded one.",
        )
    return (
        f"{len(trace.node)} outages of {trace.num_nodes} servers over {trace.days:g} days: "
        f"{trace.faulty_share:.2%} of the servers are faulty in the mean over time.",
    )
