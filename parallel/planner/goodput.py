"""A training job replayed through a trace: time running, recovering and waiting, and work done
twice.

    C  groups that the healthy nodes form
    J  groups that the job asks for
    j  groups that it runs on

A fault that hits the job stops it, and it has to recover. What happens then is its policy:

    restart  a job of exactly J groups loads its last checkpoint: it redoes what came after, and
             waits while C < J
    spares   the same, but its state has a live copy on other nodes: spare groups take over within
             a rebuild
    shrink   runs on j = min(C, J) groups, from the same live copy, and grows again when nodes come
             back; every change of j costs a rebuild

A fault hits the job with the probability that the node it strikes is one of the job's; two faults
at once are one stop. Checkpoints and copies are assumed to cost nothing, since both are written
beside the training.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parallel.fabric.baselines import architecture
from parallel.fabric.trace import Trace, timeline
from parallel.planner.worlds import Cluster, check_draws, deviation, generator, outages

DAY = 86400.0  # seconds
POLICIES = ("restart", "spares", "shrink")


@dataclass(frozen=True)
class Recovery:
    """Seconds that the stages of a recovery take."""

    step: float  # a step that a fault cuts short is done again
    checkpoint_every: float
    restart: float  # notice, clean up, start all processes, load the checkpoint
    rebuild: float  # notice, switch circuits, rebuild the mesh, take the state over from its copy

    def __post_init__(self):
        times = astuple(self)
        if not all(map(math.isfinite, times)) or min(times) < 0:
            raise ValueError(f"{self}: these are seconds, finite and not below 0.")
        if min(self.step, self.checkpoint_every) <= 0:
            raise ValueError(f"{self}: a step and the time between checkpoints are more than 0 s.")


def measured(file: str, recovery: Recovery) -> Recovery:
    """`recovery` with the step and the rebuild that the result.json of a training run tells.

    Raises: ValueError, in one sentence, if it tells of neither.
    """
    try:
        run = json.loads(Path(file).expanduser().read_bytes())
        spent, times = run["goodput"], run["recovery_seconds"]
        step, rebuild = spent["stepping"] / run["steps"], spent["recovering"] / len(times)
    except (OSError, RuntimeError) as error:  # of a home directory that there is not
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{file}: cannot read the result of a run: {why}.") from None
    except (ValueError, LookupError, TypeError, ZeroDivisionError):
        raise ValueError(
            f"{file} does not tell what a recovery took: give the result.json of a training run "
            "that has lost a node."
        ) from None
    return replace(recovery, step=step, rebuild=rebuild)


class Stretch(NamedTuple):
    """Time in which nothing changes."""

    seconds: float
    capacity: int  # C
    hit: bool  # whether it begins with a fault that hits the job


@dataclass(frozen=True)
class Account:
    """Where the time of a job went, as shares of it, and what it got done as a share of what it
    asked for.

    running + recovering + waiting = 1; `work_lost` is work done twice, and `goodput` is what
    remains.
    """

    running: float
    recovering: float
    waiting: float
    work_lost: float
    goodput: float


class GoodputRow(NamedTuple):
    """An Account, the mean over draws."""

    architecture: str
    policy: str
    tensor: int
    job_scale: float
    running: float
    recovering: float
    waiting: float
    work_lost: float
    goodput: float
    sd_over_draws: float


def follow(stretches: Iterable[Stretch], policy: str, wanted: int, recovery: Recovery) -> Account:
    """Goes through the stretches one by one.

    >>> times = Recovery(step=36, checkpoint_every=3600, restart=1800, rebuild=36)
    >>> day = [Stretch(43200 + 900, 8, False), Stretch(43200 - 900, 7, True)]
    >>> [round(follow(day, policy, 8, times).goodput, 3) for policy in POLICIES]
    [0.5, 0.51, 0.938]
    """
    if policy not in POLICIES:
        raise ValueError(f"there is no policy {policy!r}: take {', '.join(POLICIES)}.")
    redo, pause = recovery.step, recovery.rebuild
    if policy == "restart":
        redo, pause = recovery.checkpoint_every, recovery.restart
    running = recovering = waiting = lost = done = 0.0  # seconds; work in those of a full job
    groups = None  # that run
    owed = unsafe = 0.0  # seconds of recovery to go, and of work that a fault would undo
    for seconds, capacity, hit in stretches:
        able = min(capacity, wanted)
        if policy != "shrink" and able < wanted:
            able = 0
        if groups is not None and (able != groups or (hit and groups)):
            if hit or able < groups:
                lost += unsafe * groups / wanted
            owed, unsafe = pause, 0.0
        groups = able
        if not groups:
            waiting += seconds
            continue
        busy = min(owed, seconds)
        owed -= busy
        unsafe = (unsafe + seconds - busy) % redo
        recovering += busy
        running = running + seconds - busy
        done += (seconds - busy) * groups
    total = running + recovering + waiting
    return Account(
        *(share / total for share in (running, recovering, waiting, lost, done / wanted - lost))
    )


def stretches(
    cluster: Cluster, name: str, tensor: int, wanted: int, faults: Trace, luck: np.ndarray
) -> list[Stretch]:
    """What a job of `wanted` groups meets; `luck`, one number in [0, 1) per stretch, decides which
    faults hit it.
    """
    line = timeline(faults)
    capacity = architecture(name).num_groups(line.alive, cluster.gpus_per_node, tensor)
    begun = np.searchsorted(line.day, faults.start[faults.start < faults.days])
    struck = np.bincount(begun, minlength=len(line.day))  # nodes, at the start of each stretch
    healthy = np.maximum(line.alive.sum(axis=1) * cluster.gpus_per_node, 1)
    share = np.roll(np.minimum(np.minimum(capacity, wanted) * tensor / healthy, 1.0), 1)
    hit = luck[: len(struck)] < 1 - (1 - share) ** struck
    hit[0] = False  # the job starts on what is there
    return list(map(Stretch, (line.lasts * DAY).tolist(), capacity.tolist(), hit.tolist()))


def goodput(
    cluster: Cluster,
    trace: Trace | None,
    names: Iterable[str],
    tensors: Iterable[int],
    job_scales: Iterable[float],
    recovery: Recovery,
    draws: int,
    seed: int,
) -> list[GoodputRow]:
    """A row per architecture, tensor size, job scale and policy."""
    check_draws(draws)
    faults = [outages(cluster, trace, seed, draw) for draw in range(draws)]
    luck = [
        generator(seed, draw, 1).random(2 * len(outage.node) + 2)
        for draw, outage in enumerate(faults)
    ]
    rows = []
    for name, tensor, scale in product(names, tensors, job_scales):
        wanted = cluster.num_groups(tensor, scale)
        lives = [
            stretches(cluster, name, tensor, wanted, *world)
            for world in zip(faults, luck, strict=True)
        ]
        for policy in POLICIES:
            accounts = [follow(life, policy, wanted, recovery) for life in lives]
            mean = Account(*np.mean([astuple(account) for account in accounts], axis=0).tolist())
            spread = deviation([account.goodput for account in accounts])
            rows.append(
                GoodputRow(name, policy, tensor, scale, **asdict(mean), sd_over_draws=spread)
            )
    return rows
