"""Outages of a cluster over time: read from a published trace, drawn from rates, or at a single
moment.

Time is in days; day 0 is where a trace begins. The format is that of
github.com/stepfun-ai/InfiniteHBD-Trace: a JSON list of events with `node_id`, `event_time` in days,
`event_type` (fault_start or fault_end) and `fault_type` (an object with Level, Class and Desc).
"""

import itertools
import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from parallel.fabric.topology import Bools, Ints
from parallel.fabric.trace_json import TraceLine, read_lines

Floats = npt.NDArray[np.float64]

GPUS_PER_SERVER = 8  # a node of the published trace
NUM_SERVERS = 400  # of the published trace; 231 of them fail at least once
DAYS = 348.0  # that the published trace is replayed for


class Trace(NamedTuple):
    """Outage i takes node[i] away from day start[i] until day end[i]; outages of one node do not
    overlap.

    An outage may last beyond `days`, where the observation ends. One of length zero interrupts all
    the same.
    """

    num_nodes: int
    days: float
    node: Ints
    start: Floats
    end: Floats

    @property
    def faulty_share(self) -> float:
        """Share of all node-days that were lost."""
        lost = np.clip(self.end, 0, self.days) - np.clip(self.start, 0, self.days)
        return float(lost.sum() / (self.num_nodes * self.days))


class Timeline(NamedTuple):
    """State t begins on day[t] and lasts[t] days; alive[t, n] tells whether node n is there."""

    day: Floats
    lasts: Floats
    alive: Bools


def read_trace(path: str | Path, num_nodes: int = NUM_SERVERS, days: float = DAYS) -> Trace:
    """Reads a file that holds a trace; see `parse_trace`."""
    try:
        return parse_trace(Path(path).read_bytes(), num_nodes, days)
    except OSError as error:
        raise ValueError(f"{path}: cannot read the trace: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_trace(data: bytes, num_nodes: int = NUM_SERVERS, days: float = DAYS) -> Trace:
    """The outages of a cluster of `num_nodes` nodes that was watched for so many days.

    Faults of a node may overlap, and it is away while any of them lasts. A fault that never ends
    lasts to the end of the trace. An end without a start, and a second start of a fault that still
    lasts, are refused: something is missing there. Nodes that the trace does not name are there
    and never fail.
    """
    if num_nodes < 1 or not 0 < days < math.inf:
        raise ValueError(f"num_nodes={num_nodes} and days={days} must be positive.")
    faults = _pair(read_lines(data), days)
    names = {
        name: number for number, name in enumerate(dict.fromkeys(name for name, _, _ in faults))
    }
    if len(names) > num_nodes:
        raise ValueError(
            f"the trace names {len(names)} nodes, but the cluster has num_nodes={num_nodes}; "
            "raise it."
        )
    return _merge(num_nodes, days, [(names[name], start, end) for name, start, end in faults])


def _pair(lines: Iterable[TraceLine], days: float) -> list[tuple[str, float, float]]:
    """(node, first day, last day) of every fault, by first day."""
    begun: dict[tuple[str, tuple[str, str, str]], TraceLine] = {}
    faults, last = [], days
    for line in sorted(lines, key=lambda line: line.day):
        same, last = (line.node, line.fault), max(last, line.day)
        name = f"line {line.line}: node {reprlib.repr(line.node)}"
        if line.starts and same in begun:
            raise ValueError(
                f"{name} cannot start this fault again: it started on line {begun[same].line} "
                "and has not ended."
            )
        if line.starts:
            begun[same] = line
        elif same in begun:
            faults.append((line.node, begun.pop(same).day, line.day))
        else:
            raise ValueError(f"{name} ends a fault that it did not start.")
    faults += [(line.node, line.day, last) for line in begun.values()]
    return sorted(faults, key=lambda fault: fault[1])


def _merge(num_nodes: int, days: float, faults: Iterable[tuple[int, float, float]]) -> Trace:
    """Overlapping faults of a node become one outage."""
    nodes: list[int] = []
    starts: list[float] = []
    ends: list[float] = []
    for node, start, end in sorted(faults):
        if nodes and nodes[-1] == node and start <= ends[-1]:
            ends[-1] = max(end, ends[-1])
        else:
            nodes.append(node)
            starts.append(start)
            ends.append(end)
    outages = np.array(nodes, np.int64), np.array(starts, float), np.array(ends, float)
    return Trace(num_nodes, days, *outages)


def pick(trace: Trace, num_nodes: int, rng: np.random.Generator) -> Trace:
    """A cluster of `num_nodes` nodes of the trace, drawn at random and set up in random order."""
    if num_nodes > trace.num_nodes:
        raise ValueError(
            f"a trace of {trace.num_nodes} nodes is too small for {num_nodes}: ask for fewer GPUs."
        )
    place = np.full(trace.num_nodes, -1)
    place[rng.permutation(trace.num_nodes)[:num_nodes]] = np.arange(num_nodes)
    node = place[trace.node]
    taken = node >= 0
    return Trace(num_nodes, trace.days, node[taken], trace.start[taken], trace.end[taken])


def split(
    trace: Trace, parts: int, rng: np.random.Generator, faulty_share: float | None = None
) -> Trace:
    """The same outages on nodes 1 / `parts` as large, by Bayes' rule.

    If GPUs fail independently, a part is faulty with probability q where 1 - (1 - q)^parts is the
    share of faulty nodes. Of a faulty node, every set of parts is drawn with its probability,
    given that it is not empty.
    """
    share = trace.faulty_share if faulty_share is None else faulty_share
    q = 1 - (1 - share) ** (1 / parts)
    sets = np.array(list(itertools.product((False, True), repeat=parts))[1:])
    weight = np.prod(np.where(sets, max(q, 1e-12), 1 - q), axis=1)
    faulty = sets[rng.choice(len(sets), len(trace.node), p=weight / weight.sum())]
    outage, part = np.nonzero(faulty)
    node = trace.node[outage] * parts + part
    return Trace(trace.num_nodes * parts, trace.days, node, trace.start[outage], trace.end[outage])


@dataclass(frozen=True)
class Rates:
    """How often a node fails and how long it stays away, in days.

    Up times are exponential. Repair times follow the Weibull distribution that has this mean and
    median, which is the exponential one where no median is given. Most repairs are short then, and
    a few last for months.
    """

    mtbf: float
    mttr: float
    median_repair: float | None = None

    def __post_init__(self) -> None:
        if not (self.mtbf > 0 and self.mttr > 0 and math.isfinite(self.mtbf + self.mttr)):
            raise ValueError(
                f"mtbf={self.mtbf} and mttr={self.mttr} must be positive numbers of days."
            )
        if self.median_repair is not None and not 0 < self.median_repair <= self.mttr:
            raise ValueError(
                f"median_repair={self.median_repair} must lie between 0 and mttr={self.mttr}."
            )

    @property
    def faulty_share(self) -> float:
        return self.mttr / (self.mtbf + self.mttr)

    @property
    def shape(self) -> float:
        """Of the Weibull distribution; its mean over its median falls as the shape grows."""
        wanted = self.mttr / (self.median_repair or self.mttr * math.log(2))
        low, high = 0.05, 20.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            ratio = math.gamma(1 + 1 / middle) / math.log(2) ** (1 / middle)
            low, high = (middle, high) if ratio > wanted else (low, middle)
        return low

    def repairs(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        """Lengths of outages, in days."""
        return self.mttr / math.gamma(1 + 1 / self.shape) * rng.weibull(self.shape, shape)


# Fitted to the published trace, for its servers of 8 GPUs; 2.3 % of them are faulty in the mean.
# The shape is 0.43 and the standard deviation of repairs 15 days (of the trace, 14.2). Real faults
# come in bursts and in bad months, which these rates do not model.
PUBLISHED = Rates(mtbf=233.5, mttr=5.535, median_repair=0.850)


def fit(trace: Trace) -> Rates:
    """The rates of a trace: up-days per outage, and the mean and the median length of outages."""
    repair = trace.end - trace.start
    if not repair.any():
        raise ValueError(
            "a trace in which no fault lasts has no rates: give mtbf and mttr instead."
        )
    up = trace.num_nodes * trace.days * (1 - trace.faulty_share)
    mean, median = float(repair.mean()), float(np.median(repair))
    return Rates(up / len(repair), mean, min(mean, median) or None)


def random_trace(num_nodes: int, days: float, rates: Rates, rng: np.random.Generator) -> Trace:
    """Outages at these rates, from a start that is like any other day."""
    history = 2 * (rates.mtbf + rates.mttr)
    starts, ends = np.empty((num_nodes, 0)), np.full((num_nodes, 1), -history)
    while ends[:, -1].min() < days:
        up = rng.exponential(rates.mtbf, (num_nodes, 16))
        repair = rates.repairs((num_nodes, 16), rng)
        ends = np.hstack([ends, ends[:, -1:] + np.cumsum(up + repair, axis=1)])
        starts = np.hstack([starts, ends[:, -16:] - repair])
    node, outage = np.nonzero((starts < days) & (ends[:, 1:] > 0))
    return Trace(num_nodes, days, node, starts[node, outage].clip(0), ends[node, outage + 1])


def timeline(trace: Trace) -> Timeline:
    """Every stretch of time in which nothing changes, from day 0 to the last."""
    inside = trace.start < trace.days
    node, start = trace.node[inside], trace.start[inside]
    end = trace.end[inside].clip(max=trace.days)
    day = np.unique(np.concatenate([[0.0, trace.days], start, end]))
    change = np.zeros((len(day), trace.num_nodes), np.int8)
    np.add.at(change, (np.searchsorted(day, start), node), 1)
    np.add.at(change, (np.searchsorted(day, end), node), -1)
    away = np.cumsum(change[:-1], axis=0, dtype=np.int8)
    return Timeline(day[:-1], np.diff(day), away == 0)


def iid_faults(num_nodes: int, ratio: float, sets: int, rng: np.random.Generator) -> Bools:
    """alive[set, node]: every node is faulty with probability `ratio`, on its own."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"fault_ratio={ratio} is no share of nodes: it must lie between 0 and 1.")
    return rng.random((sets, num_nodes)) >= ratio
