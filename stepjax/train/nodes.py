"""Training with a process for each node: one keeps the journal and supervises, all others train."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict

from parallel.elastic.formation import Rings
from parallel.elastic.processes import (
    Ended,
    Limits,
    Meeting,
    Member,
    Observer,
    RunFailed,
    Supervisor,
    launch,
)
from parallel.elastic.processes.member import USUAL
from parallel.elastic.processes.node import ProcessCluster
from parallel.elastic.runtime import Recovered
from parallel.fabric.faults import Fault
from stepjax import numerics
from stepjax.recipe import Recipe
from stepjax.train import corpus as corpora
from stepjax.train import events, identity
from stepjax.train.check import check
from stepjax.train.job import TrainingJob
from stepjax.train.journal import Journal, Records
from stepjax.train.loop import Interrupt, Interrupted, Stopped, Store, finish, open_run, run
from stepjax.train.programs import AHEAD, State
from stepjax.train.trainer import NotFinite


def train(
    config: ConfigDict,
    workdir: Path,
    meeting: Meeting | None = None,
    limits: Limits = USUAL,
    programs: Path | None = None,
) -> dict:
    """As `loop.train`, with a process for each node of the config's fabric.

    Args:   meeting: where nodes come from other machines, which share `workdir`. They find the
              corpus as this one does; a corpus that is made, each of them makes.
            programs: see `launch`.
    Raises: also ValueError if nodes cannot come there.
    """
    with contextlib.ExitStack() as stack:
        opened = open_run(config, workdir, stack)
        journal, store = opened.journal, opened.store
        interrupt = stack.enter_context(Interrupt())
        interrupt.take_over()

        def started(supervisor: Supervisor) -> None:
            interrupt.then = lambda: supervisor.stop(
                "interrupted; the same command goes on from here"
            )

        desk = stack.enter_context(Desk(journal, store))
        try:
            score = launch(
                functools.partial(_work, config, workdir.absolute()),
                opened.rings,
                opened.plan,
                workdir,
                opened.job.shapes,
                lambda: desk.began(store.go_back()),
                desk,
                preload=("stepjax.train.nodes",),
                started=started,
                meeting=meeting,
                limits=limits,
                programs=programs,
            )
        except RunFailed as error:
            if not isinstance(error.reason, tuple):  # before the first step, or not finite
                if interrupt.asked:
                    raise KeyboardInterrupt(str(error)) from None
                raise
            kind = Interrupted if interrupt.asked else Stopped
            raise kind(*error.reason, store.save(0, None, wait=True)) from None
        return finish(config, workdir, opened.corpus, journal, score)


def _work(config: ConfigDict, workdir: Path, member: Member) -> None:
    """What each process of the run does."""
    topology, layout, _ = check(config)
    numerics.settle()
    numerics.fix_threads(topology.num_nodes * config.fabric.gpus_per_node)
    identity.check_here(workdir)
    splits = corpora.open_splits(config.data)
    recipe = Recipe.load(workdir / identity.RECIPE)
    corpus = corpora.make(splits, recipe, config.data, config.seed)
    rings = Rings(topology, layout, config.fabric.gpus_per_node)
    job = TrainingJob.of(config, corpus)

    def train(cluster: ProcessCluster) -> Ended:
        journal = FarJournal(cluster, config.fabric.num_nodes)
        try:
            return Ended(run(config, corpus, job, cluster, rings, journal, FarStore(), cluster))
        except Stopped as error:
            return Ended(None, (error.step, error.reason))
        except NotFinite as error:
            return Ended(None, str(error))

    member.run(job, rings, train, AHEAD)


class FarStore:
    """The checkpoints as a node sees them: the supervisor saves, and goes back."""

    def go_back(self) -> NoReturn:
        """The supervisor does it."""
        raise AssertionError("a node is told what to go back to.")

    def save(self, step: int, whole: None, wait: bool = False) -> int:
        """The node has offered its part already."""
        return 0

    def note_saved(self, wait: bool = False) -> None:
        """The supervisor does it."""


class FarJournal(Records):
    """The journal as a node sees it: what it writes goes to the `Desk`."""

    def __init__(self, cluster: ProcessCluster, num_nodes: int):
        super().__init__(num_nodes)
        self._cluster = cluster

    def recovery(self, step: int, recovered: Recovered) -> None:
        """See Records. A node that was left out for a while has not seen all of it."""
        if not self._cluster.left_out:
            super().recovery(step, recovered)

    def event(self, event: events.Event) -> None:
        self._cluster.note(event)

    def line(self, line: events.StepLine) -> None:
        self._cluster.note(line)


class Desk(Observer):
    """Writes what nodes tell into the journal, once each, and saves what they offer."""

    def __init__(self, journal: Journal, store: Store):
        self._journal, self._store = journal, store
        self._known: set[tuple[Any, ...]] = set()
        self._causes: list[str] = []
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._saving: dict[int, Future[State]] = {}  # by step
        self._offered = 0  # the step of which the state was offered last

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        self._saver.shutdown()

    def fault(self, fault: Fault) -> None:
        """See Observer."""
        self._journal.fault(fault)

    def taken_up(self, step: int) -> None:
        """See Observer."""
        self._store.take_up(step)
        self._known = {_key(what) for what in self._journal.told()}
        self._causes.append("the supervisor was started again")

    def slow(self, step: int, node: int, times: float) -> None:
        """See Observer."""
        self._journal.event(events.Slow(step, node=node, times=times))

    def differed(self, step: int) -> None:
        """See Observer."""
        self._causes.append(f"replicas of the state differed in step {step}")

    def lost(self, node: int, why: str) -> None:
        """See Observer."""
        self._causes.append(f"node {node}: {why}")

    def save(self, step: int, whole: Callable[[], State]) -> None:
        """See Observer."""
        self._offered = step
        self._saving[step] = self._saver.submit(whole)
        self._see_to_saving()

    def wait(self) -> None:
        """See Observer."""
        with self._journal.held(self._offered):
            self._see_to_saving(wait=True)

    def note(self, what: events.Event | events.StepLine) -> None:
        """See Observer."""
        self._see_to_saving()
        key = _key(what)
        if key in self._known:
            return
        self._known.add(key)
        if isinstance(what, events.StepLine):
            self._journal.line(what)
            return
        if isinstance(what, events.Recovery):
            what = dataclasses.replace(what, cause="; ".join(self._causes))
            self._causes.clear()
        self._journal.event(what)

    def began(self, found: tuple[int, State]) -> tuple[int, State]:
        """The run goes on at a step: what comes of it and later ones is new."""
        self._known = {key for key in self._known if key[1] < found[0]}
        return found

    def _see_to_saving(self, wait: bool = False) -> None:
        for step, whole in list(self._saving.items()):
            if wait or whole.done():
                del self._saving[step]
                # If some part is gone, the run goes on, and a later step is saved.
                self._store.save(step, None if whole.exception() else whole.result())
        self._store.note_saved(wait)


def _key(what: events.Event | events.StepLine) -> tuple[Any, ...]:
    """Equal for what several nodes tell of the same thing."""
    if isinstance(what, events.Generation):
        return type(what), -1, what.generation  # some of its nodes come from another step
    if isinstance(what, events.Recovery):
        return type(what), what.step, what.generation
    if isinstance(what, events.Compiled):
        return type(what), what.step, what.program
    return type(what), what.step
