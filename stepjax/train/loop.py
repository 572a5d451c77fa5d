"""Training: fabric, mesh, data, model, optimizer, restore; then for every step: fetch, step, log,
save, evaluate.
"""

import contextlib
import dataclasses
import json
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import jax
from ml_collections import ConfigDict

from parallel.elastic.cluster import Cluster
from parallel.elastic.emulated import EmulatedCluster, check_emulable
from parallel.elastic.formation import Generation, NotEnoughNodes, Rings, Stopwatch
from parallel.elastic.runtime import Runtime
from parallel.fabric.faults import FaultPlan
from stepjax import numerics
from stepjax.data.pipeline import Batch, iterate
from stepjax.disk import files
from stepjax.disk.lock import Lock
from stepjax.report import page
from stepjax.train import corpus as corpora
from stepjax.train import events, identity, optimizer
from stepjax.train.check import check
from stepjax.train.checkpoint import Checkpoints, sweep
from stepjax.train.heldout import Score
from stepjax.train.job import TrainingJob
from stepjax.train.journal import Journal, Records, still_to_come
from stepjax.train.optimizer import OptimizerConfig
from stepjax.train.programs import AHEAD, State
from stepjax.train.step import trained_on
from stepjax.train.summary import summary
from stepjax.train.trainer import Measured


class Stopped(RuntimeError):
    """The run ended before its last step. What it has is saved; the same command resumes it."""

    def __init__(self, step: int, reason: str, kept: int):
        self.step, self.reason = step, reason
        super().__init__(f"stopped before step {step}, with {kept} steps saved: {reason}")


class Interrupted(Stopped, KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM."""


def train(
    config: ConfigDict,
    workdir: Path,
    programs: Path | None = None,
    shapes: Collection[tuple[int, ...]] = (),
) -> dict:
    """Trains as `config` says, on emulated nodes, logs to `workdir`, and goes on where an earlier
    run in `workdir` stopped.

    Args:    programs: a folder in which compiled programs lie, and stay; None keeps none.
             shapes: of meshes that programs are compiled for at the end, for later runs.
    Returns: the numbers of result.json.
    Raises:  ValueError, before anything is trained, for a config that cannot be; Stopped, when the
             run was interrupted or no ring can be formed any more; NotFinite.
    """
    check_emulable(check(config)[2])
    with contextlib.ExitStack() as stack:
        opened = open_run(config, workdir, stack)
        rings, journal = opened.rings, opened.journal
        cluster = stack.enter_context(
            EmulatedCluster(rings, opened.plan, journal.fault, programs=programs)
        )
        interrupt = stack.enter_context(Interrupt())
        score = run(
            config, opened.corpus, opened.job, cluster, rings, journal, opened.store, interrupt
        )
        for name, lower in opened.job.programs.items():
            for shape in shapes:
                cluster.program(name, lower).prepare(shape)
        return finish(config, workdir, opened.corpus, journal, score)


class Opened(NamedTuple):
    """A workdir that this process trains in, and what is made before the first step."""

    rings: Rings
    plan: FaultPlan  # what is still to come
    corpus: corpora.Corpus
    job: TrainingJob
    journal: Journal
    store: "Store"


def open_run(config: ConfigDict, workdir: Path, stack: contextlib.ExitStack) -> Opened:
    """Takes `workdir` for this process, until `stack` is closed.

    Raises: ValueError for a config that cannot be trained, or not in this folder.
    """
    began = time.time()
    topology, layout, plan = check(config)
    numerics.settle()
    stack.enter_context(Lock(workdir))
    splits = corpora.open_splits(config.data)
    recipe = identity.take_up(
        workdir, config, splits,
        fit=lambda: corpora.fit(splits, config.data, config.seed, layout.tensor),
    )  # fmt: skip
    corpus = corpora.make(splits, recipe, config.data, config.seed)
    journal = stack.enter_context(Journal(workdir, config))
    rings = Rings(topology, layout, config.fabric.gpus_per_node)
    plan = still_to_come(plan, journal.injected())
    job = TrainingJob.of(config, corpus)
    store = stack.enter_context(Store(config, job, workdir / "checkpoints", journal, began))
    return Opened(rings, plan, corpus, job, journal, store)


def run(
    config: ConfigDict,
    corpus: corpora.Corpus,
    job: TrainingJob,
    cluster: Cluster,
    rings: Rings,
    journal: Records,
    store: "Storing",
    interrupt: "Interrupt",
) -> dict:
    """The training loop, in every process of a run. Returns the score of the trained model.

    All that nodes do together for step n happens in `work(n)`, a pure function of n and the state;
    so nodes that were lost, have come or were left out do the same again, or are told where to go
    on.
    """
    steps = config.steps
    rate = optimizer.learning_rate(OptimizerConfig.of(config.optimizer), steps)
    with contextlib.ExitStack() as stack:
        feed = Feed(corpus.batches, steps)
        stack.callback(feed.close)

        def formed(n: int, generation: Generation) -> None:
            journal.compiled(n, runtime.loading)
            journal.generation(n, generation)

        runtime = Runtime(cluster, rings, job, AHEAD, formed)
        stack.callback(runtime.close)

        def work(n: int) -> tuple[Score | None, Measured | None, Stopwatch]:
            score = measured = None
            # It stands still while programs are loaded.
            watch = Stopwatch(lambda: time.perf_counter() - sum(runtime.loading.values()))
            if n == steps or _is_due(config.evaluate.every, n):
                score = job.heldout.score(n - 1, runtime)
            watch.lap("evaluating")
            if n < steps:
                arrays = trained_on(feed.at(n).arrays)
                watch.lap("waiting")
                measured = job.trainer.step(n, arrays, runtime)
                watch.lap("stepping")
            else:
                cluster.commit(n)
            return score, measured, watch

        def stop(reason: str, kind: type[Stopped] = Stopped) -> NoReturn:
            """Saves what is left of the state, says why, and ends the run."""
            n = runtime.step
            with journal.held(n):
                kept = store.save(n, cluster.whole(), wait=True)
            journal.event(events.Stop(n, reason=reason))
            raise kind(n, reason, kept)

        n = runtime.start(store.go_back)
        while True:
            if n < steps:
                cluster.progress(n, "before")
            try:  # n may come back as an earlier step, where no live node holds the state any more
                n, (score, measured, watch), recovered = runtime.surviving(n, work, store.go_back)
            except (NotEnoughNodes, TimeoutError) as error:
                stop(str(error))
            interrupt.take_over()
            journal.compiled(n, runtime.loading)
            took = watch.phases
            for each in recovered:
                journal.recovery(n, each)
            if score is not None:
                seconds = took["evaluating"]
                journal.event(events.Evaluation(n, **dataclasses.asdict(score), seconds=seconds))
            if measured is None:
                with journal.held(n):
                    store.note_saved(wait=True)
                return dataclasses.asdict(score)
            if measured.grad_norm is None:
                journal.event(events.Skipped(n))
            journal.step(
                n,
                measured,
                seconds=took["waiting"] + took["stepping"],
                waited=took["waiting"],
                generation=runtime.generation,
                learning_rate=float(rate(n - measured.skipped)),  # the optimizer saw no others
                sample_ids_hash=feed.at(n).sample_ids_hash,
            )
            n += 1
            store.note_saved()
            runtime.prepare()
            if interrupt.asked:
                stop("interrupted; the same command goes on from here", Interrupted)
            if n == steps or _is_due(config.checkpoint.every, n):
                with journal.held(n):
                    store.save(n, cluster.whole())
                cluster.progress(n - 1, "saving")


def _is_due(every: int, n: int) -> bool:
    return bool(every) and n > 0 and n % every == 0


class Storing(Protocol):
    """Where the state of a run is saved, and what it goes back to."""

    def go_back(self) -> tuple[int, State]:
        """What the run begins with, and goes back to where no live node holds its state."""

    def save(self, step: int, whole: State | None, wait: bool = False) -> int:
        """Saves a state, if it is there. Returns the steps done in the newest checkpoint."""

    def note_saved(self, wait: bool = False) -> None:
        """Says of every checkpoint that has come to the disk that it is there."""


class Store:
    """The checkpoints of a run, and what the journal says of them."""

    def __init__(
        self, config: ConfigDict, job: TrainingJob, folder: Path, journal: Journal, began: float
    ):
        sweep(folder)
        self._config, self._job, self._journal = config, job, journal
        self._checkpoints = Checkpoints(folder, config.checkpoint.keep)
        self._process_began, self._begun = began, False

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self._checkpoints.close()

    def save(self, step: int, whole: State | None, wait: bool = False) -> int:
        """See Storing."""
        if whole is not None:
            self._journal.sync()
            self._checkpoints.save(step, whole)
        self.note_saved(wait)
        return step if whole is not None else self._checkpoints.latest() or 0

    def note_saved(self, wait: bool = False) -> None:
        """See Storing."""
        self._journal.saved(self._checkpoints.committed(wait))

    def go_back(self) -> tuple[int, State]:
        """The newest whole checkpoint; a new run makes its first one, of step 0."""
        damaged: dict[int, str] = {}
        resumed = self._checkpoints.latest() is not None
        if resumed:
            found = self._checkpoints.restore(self._job.shapes)
            step, state, damaged = found.step, found.state, found.damaged
        else:
            step, state = 0, jax.device_get(jax.jit(self._job.make_state)())
            self._checkpoints.save(0, state)
        self._begin(step, resumed)
        for number, reason in damaged.items():
            self._journal.event(events.Damaged(number, reason=reason, restored=step))
        return step, state

    def take_up(self, step: int) -> None:
        """The run goes on at a step with nodes that hold its state."""
        self._begin(step, resumed=True)

    def _begin(self, step: int, resumed: bool) -> None:
        dropped = self._journal.begin(step)
        if not self._begun:
            self._begun = True
            self._journal.event(self._start(step, resumed, dropped))

    def _start(self, step: int, resumed: bool, dropped: int) -> events.Start:
        fabric, mesh = self._config.fabric, self._config.mesh
        return events.Start(
            step,
            num_nodes=fabric.num_nodes,
            gpus_per_node=fabric.gpus_per_node,
            hops=fabric.hops,
            fabric=fabric.kind,
            tensor=mesh.tensor,
            fsdp=mesh.fsdp,
            plan=self._config.faults,
            resumed=resumed,
            steps_lost=dropped,
            began=self._process_began,
        )


def finish(
    config: ConfigDict, workdir: Path, corpus: corpora.Corpus, journal: Journal, score: dict
) -> dict:
    """Ends the journal, and writes result.json and report.html. Returns the numbers of the
    former.
    """
    journal.event(events.End(config.steps))
    numbers = summary(
        journal.metrics.path,
        journal.events.path,
        corpus.hash_of,
        corpus.batch_size,
        config.steps,
    )
    result = dataclasses.asdict(numbers) | {
        "heldout": score,
        "skipped_files": [dataclasses.asdict(skipped) for skipped in corpus.skipped],
        "mixed_files": corpus.mixed,
    }
    files.replace(workdir / "result.json", json.dumps(result, indent=1) + "\n")
    journal.account(result["goodput"])
    page.write(workdir)
    return result


class Interrupt:
    """Ctrl-C and SIGTERM become a wish to stop after the step; a second Ctrl-C stops at once.

    Before `take_over` they do what they did: until a step is done there is nothing to save, and
    nobody has to wait for a compilation.
    """

    def __init__(self):
        self.asked = False
        self.then: Callable[[], None] = lambda: None  # is called when it is asked first
        self._before: dict = {}

    def __enter__(self) -> "Interrupt":
        return self

    def take_over(self) -> None:
        if not self._before:
            self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.then()


class Feed:
    """Batches by number, made ahead as long as they are asked for in order."""

    def __init__(self, batches, stop: int):
        self._batches, self._stop = batches, stop
        self._next, self._ahead, self._last = None, None, None

    def at(self, n: int) -> Batch:
        if self._last is not None and n == self._next - 1:
            return self._last
        if n != self._next:
            self.close()
            self._ahead = iterate(self._batches, n, self._stop)
        self._last, self._next = next(self._ahead), n + 1
        return self._last

    def close(self) -> None:
        if self._ahead:
            self._ahead.close()
