"""A job without a model, for tests of what survives: a vector that is added up on rings of two
nodes. Each node can be told to misbehave, once.
"""

import functools
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic import Rings, Runtime
from parallel.elastic.processes import Ended, Limits, Member, Observer, launch
from parallel.elastic.processes.acts import flip
from parallel.fabric import FaultPlan, KHopRing
from parallel.spmd import Layout

NODES, STEPS = 5, 14
RINGS = Rings(KHopRing(NODES, hops=2), Layout(tensor=4), gpus_per_node=2)
SIZE = 1008


class Counting:
    """The state is split over each ring, and every ring holds all of it."""

    shapes = jax.ShapeDtypeStruct((SIZE,), np.int32)

    @property
    def programs(self):
        return {"add": self.add}

    axes = "tensor"

    def shardings(self, mesh):
        return NamedSharding(mesh, P(self.axes))

    def add(self, mesh):
        split, whole = self.shardings(mesh), NamedSharding(mesh, P())
        x = jax.ShapeDtypeStruct(self.shapes.shape, self.shapes.dtype, sharding=split)
        step = jax.jit(lambda x: (x + x.sum() % 10, x.sum()), out_shardings=(split, whole))
        return step.lower(x)


class Divided(Counting):
    """All rings share the state, and no part of it is on two nodes."""

    axes = ("data", "tensor")


class Fragile(Counting):
    """The first processes that compile its program die of it, and leave a mark in a folder."""

    def __init__(self, folder: Path, deaths: int):
        self.folder, self.deaths = folder, deaths

    def add(self, mesh):
        for mark in (self.folder / f"dead-{i}" for i in range(self.deaths)):
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().add(mesh)


COUNTING = Counting()


def start():
    return 0, np.arange(SIZE, dtype=np.int32)


def count(cluster, note, job, before=lambda n, x: None, after=lambda n, x: None, alone=lambda x: x):
    """Notes the sum before every step, and the recoveries that it took."""
    runtime = Runtime(cluster, RINGS, job, ahead=("add",))
    n = runtime.start(start)

    def add(n):
        before(n, runtime.state)
        x, total = runtime.run("add", runtime.state, step=n)
        after(n, x)
        cluster.commit(n, x)
        x = cluster.run(alone, x, step=n)
        runtime.hold(n + 1, x)
        return int(total)

    while n < STEPS:
        cluster.progress(n, "before")
        n, total, recovered = runtime.surviving(n, add, start)
        note((n, total))
        for r in recovered if not getattr(cluster, "left_out", False) else ():
            note((n, sorted(r.lost), sorted(r.back), r.state_from, r.steps_lost))
            note((n, tuple(r.watch.phases), r.compiled))
        n += 1
    runtime.close()


class Notes(Observer):
    """What came to pass: sums by step, recoveries in order, and why nodes were lost."""

    def __init__(self):
        self.sums, self.recoveries, self.causes = {}, [], []
        self.ways = set()  # of recoveries: their phases, and how many programs were compiled

    def note(self, what):
        if len(what) == 2:
            n, total = what
            assert self.sums.setdefault(n, total) == total, "nodes disagree"
        elif len(what) == 3:
            self.ways.add(what)
        elif what not in self.recoveries:
            self.recoveries.append(what)

    def lost(self, node, why):
        self.causes.append((node, why))

    def slow(self, step, node, times):
        self.causes.append((node, "slow"))

    def differed(self, step):
        self.causes.append((None, f"differed in step {step}"))

    def taken_up(self, step):
        self.causes.append((None, f"taken up before step {step}"))


def expected():
    """The sums by hand."""
    x, sums = np.arange(SIZE, dtype=np.int64), {}
    for n in range(STEPS):
        sums[n] = int(x.sum())
        x += x.sum() % 10
    return sums


def misfortunes(seed: int) -> tuple[str, list[tuple[int, int, str]]]:
    """A random fault plan, and random deeds of other nodes; a ring can always be formed again."""
    chance, faults, deeds, away, touched = random.Random(seed), [], [], set(), set()
    for step in range(1, STEPS):
        for node in chance.sample(range(NODES), chance.choice([0, 0, 1, 1, 2])):
            if node in away:
                faults.append(f"back {node} before {step}")
                away.remove(node)
            elif chance.random() < 0.5 and node not in touched and len(away) < 2:
                faults.append(f"lose {node} {chance.choice(['before', 'during'])} {step}")
                away.add(node)
            elif node not in touched:
                deeds.append((node, step, chance.choice(["crash", "raise", "crash", "stop"])))
            touched.add(node)
    return "; ".join(faults), deeds


def on_processes(plan, folder: Path, deeds=(), job=COUNTING, notes=None, **options) -> Notes:
    """`count` with a process for each node.

    Args:  deeds: (node, step, what it does there, once), see `_do`.
    """
    work = functools.partial(_work, folder, tuple(deeds), job)
    limits, notes = (
        Limits(silence=5.0, orphaned=20.0, first_step=20.0, slowest=5.0),
        notes or Notes(),
    )
    plan = FaultPlan.parse(plan)
    launch(work, RINGS, plan, folder, Counting.shapes, start, notes, limits, **options)
    return notes


def _work(folder: Path, deeds, job, member: Member) -> None:
    mine = [deed for deed in deeds if deed[0] == member.number]

    def due(n: int, late: bool) -> list[str]:
        found = []
        for number, step, deed in mine:
            mark = folder / f"{number}-{step}-{deed}"
            is_new = deed == "err always" or not mark.exists()
            if n == step and is_new and late == deed.startswith("err"):
                mark.touch()
                found.append(deed)
        return found

    def before(n: int, x=None) -> None:
        for deed in due(n, late=False):
            _do(deed, x)

    def after(n: int, x) -> None:
        for _ in due(n, late=True):
            flip(x)

    def alone(x):
        time.sleep(0.3 if any(deed == "drag" for _, _, deed in mine) else 0)
        return x

    before(-1)

    def body(cluster) -> Ended:
        return Ended(count(cluster, cluster.note, job, before, after, alone))

    member.run(job, RINGS, body, ahead=("add",))


def _do(deed: str, x) -> None:
    match deed:
        case "flip":
            flip(x)
        case "drag":
            pass  # in every step
        case "pause":
            time.sleep(0.4)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "freeze":  # no thread of this process gets on
            re.match("(a+)+$", "a" * 99 + "b")
        case "sleep":  # the heartbeats go on
            time.sleep(3600)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "raise":
            raise OSError("the disk of this node is gone")


if __name__ == "__main__":  # a supervisor that can be killed: FOLDER DEEDS
    notes = on_processes("", Path(sys.argv[1]), json.loads(sys.argv[2]))
    print(json.dumps([notes.sums, notes.recoveries, notes.causes]))
