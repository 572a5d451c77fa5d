"""A training job replayed through a trace: time running, recovering and waiting, and work done
twice.

    C  groups that the healthy nodes form      J  groups that the job asks for      j  groups that it runs on

A fault that hits the job stops it, and it has to recover. What happens then is its policy:

    restart  a job of exactly J groups loads its last checkpoint: it redoes what came after, and
    waits while C < J
    spares   the same, but its state has a live copy on other nodes: spare groups take over within a rebuild
    shrink   runs on j = min(C, J) groups, from the same live copy, and grows again when nodes come back; every
             change of j costs a rebuild

A fault hits the job with the probability that the node it strikes is one of the job's; two faults
at once are one stop. Writing checkpoints and copies is taken to cost nothing, for both happen
beside the training.
"""

import itertools
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from typing import NamedTuple

import numpy as np

from parallel.fabric.baselines import architecture
from parallel.fabric.trace import Trace, timeline
from parallel.planner.replay import (
    Cluster,
    check_draws,
    deviation,
    generator,
    groups_of_job,
    outages,
)

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
        if min(self.step, self.checkpoint_every) <= 0 or min(self.restart, self.rebuild) < 0:
            raise ValueError(
                f"{self}: these are seconds, and a step and a checkpoint take more than none."
            )


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


def follow(stretches: Iterable[Stretch], policy: str, wanted: int, recovery: Recovery) -> Account:
    """Lives through the stretches one by one.

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
    running = recovering = waiting = lost = done = 0.0
    groups, owed, unsafe = (
        None,
        0.0,
        0.0,
    )  # groups that run, seconds of recovery to go, seconds of work not yet safe
    for seconds, capacity, hit in stretches:
        able = min(capacity, wanted) if policy == "shrink" else wanted * (capacity >= wanted)
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
        recovering, running, done = (
            recovering + busy,
            running + seconds - busy,
            done + (seconds - busy) * groups,
        )
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
) -> list[dict]:
    """A row per architecture, tensor size, job scale and policy: the mean over draws."""
    check_draws(draws)
    faults = [outages(cluster, trace, seed, draw) for draw in range(draws)]
    luck = [
        generator(seed, draw, 1).random(2 * len(drawn.node) + 2)
        for draw, drawn in enumerate(faults)
    ]
    rows = []
    for name, tensor, scale in itertools.product(names, tensors, job_scales):
        wanted = groups_of_job(cluster, tensor, scale)
        lives = [
            stretches(cluster, name, tensor, wanted, *drawn)
            for drawn in zip(faults, luck, strict=True)
        ]
        for policy in POLICIES:
            accounts = [follow(life, policy, wanted, recovery) for life in lives]
            mean = np.mean([astuple(account) for account in accounts], axis=0).tolist()
            rows.append(
                {"architecture": name, "policy": policy, "tensor": tensor, "job_scale": scale}
                | asdict(Account(*mean))
                | {"sd_over_draws": deviation([account.goodput for account in accounts])}
            )
    return rows
