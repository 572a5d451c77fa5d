"""Training: fabric, mesh, data, model, optimizer, restore; then for every step: fetch, step, log,
save, evaluate.
"""

import contextlib
import dataclasses
import functools
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from parallel.elastic.inject import EmulatedCluster, NodeFailure
from parallel.elastic.supervisor import NotEnoughNodes, Supervisor
from stepjax import numerics
from stepjax.data.pipeline import Batch, iterate
from stepjax.disk import files
from stepjax.disk.lock import Lock
from stepjax.model import step_audio
from stepjax.model.step_audio import ModelConfig
from stepjax.report import page
from stepjax.train import corpus as corpora
from stepjax.train import events, identity, optimizer
from stepjax.train.check import check
from stepjax.train.checkpoint import Checkpoints
from stepjax.train.heldout import Heldout
from stepjax.train.journal import Journal, still_to_come
from stepjax.train.optimizer import OptimizerConfig
from stepjax.train.step import Step, trained_on
from stepjax.train.summary import summary
from stepjax.train.trainer import Recovered, Trainer


class Stopped(RuntimeError):
    """The run ended before its last step. What it has is saved; the same command resumes it."""


class Interrupted(Stopped, KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM."""


def train(config: ConfigDict, workdir: Path) -> dict:
    """Trains as `config` says, logs to `workdir`, and goes on where an earlier run in `workdir`
    stopped.

    Returns: the numbers of result.json.
    Raises:  ValueError, before anything is trained, for a config that cannot be; Stopped, when the
             run was interrupted or no ring can be formed any more; NotFinite.
    """
    topology, layout, plan = check(config)
    numerics.settle()
    with contextlib.ExitStack() as stack:
        stack.enter_context(Lock(workdir))
        splits = corpora.open_splits(config.data)
        recipe = identity.take_up(
            workdir, config, splits,
            fit=lambda: corpora.fit(splits, config.data, config.seed, layout.tensor),
        )  # fmt: skip
        corpus = corpora.make(splits, recipe, config.data, config.seed)
        journal = stack.enter_context(Journal(workdir, config))
        plan = still_to_come(plan, journal.injected())
        gpus_per_node = config.fabric.gpus_per_node
        cluster = stack.enter_context(EmulatedCluster(topology.num_nodes, gpus_per_node, plan))
        supervisor = Supervisor(cluster, topology, layout, gpus_per_node)
        make_params, step = model_and_step(config, corpus.recipe.vocabulary.size)
        first = trained_on(corpus.batches[0].arrays)
        shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in first.items()}
        trainer = Trainer(step, supervisor, shapes, config.data.microbatch, config.objective)
        stack.callback(trainer.close)
        checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.keep)
        stack.callback(checkpoints.close)
        run = Run(config, corpus, trainer, make_params, checkpoints, journal)
        stack.callback(run.feed.close)
        return run.to_the_end(stack.enter_context(Interrupt()), workdir)


def model_and_step(config: ConfigDict, vocabulary: int) -> tuple[Callable[[], Any], Step]:
    """The pure function that makes the parameters, and the device programs of the model."""
    sizes, rates = ModelConfig.of(config.model), OptimizerConfig.of(config.optimizer)
    make = functools.partial(step_audio.make, sizes, vocabulary, config.seed)
    graph, params = nnx.split(nnx.eval_shape(make), nnx.Param)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), nnx.to_pure_dict(params)
    )

    def make_params():
        return nnx.to_pure_dict(nnx.state(make(), nnx.Param))

    transformation = optimizer.make(rates, config.steps)
    return make_params, Step(graph, shapes, transformation, rates.clip, config.mesh.fsdp)


class Interrupt:
    """Ctrl-C and SIGTERM become a wish to stop after the step; a second Ctrl-C stops at once.

    Before `take_over` they do what they did: until a step is done there is nothing to save, and
    nobody has to wait for a compilation.
    """

    def __init__(self):
        self.asked = False
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


@dataclasses.dataclass
class Run:
    """A run from where it stands to its end. `n` is the step at hand: n steps are done."""

    config: ConfigDict
    corpus: corpora.Corpus
    trainer: Trainer
    make_params: Callable[[], Any]
    checkpoints: Checkpoints
    journal: Journal

    def __post_init__(self):
        self.n = 0
        self.feed = Feed(self.corpus.batches, self.config.steps)
        rates = OptimizerConfig.of(self.config.optimizer)
        self.rate = optimizer.learning_rate(rates, self.config.steps)

    def to_the_end(self, interrupt: Interrupt, workdir: Path) -> dict:
        """The training loop."""
        config, trainer, cluster, journal = (
            self.config,
            self.trainer,
            self.trainer.cluster,
            self.journal,
        )
        heldout = Heldout(self.corpus, trainer, config.data.microbatch)
        self.begin()
        while self.n < config.steps:
            began = time.perf_counter()
            cluster.reach(self.n, "before")
            measured = self.surviving(lambda: trainer.train_on(self.n, self.arrays()))
            interrupt.take_over()
            journal.step(
                self.n,
                measured,
                time.perf_counter() - began,
                trainer.generation,
                learning_rate=float(self.rate(self.n)),
                sample_ids_hash=self.feed.at(self.n).sample_ids_hash,
            )
            self.n += 1
            self.note_saved()
            trainer.prepare()
            if interrupt.asked:
                self.stop("interrupted; the same command goes on from here", Interrupted)
            if self.n % config.checkpoint.every == 0 or self.n == config.steps:
                self.save()
            if (
                config.evaluate.every
                and self.n % config.evaluate.every == 0
                and self.n < config.steps
            ):
                self.evaluate(heldout)
        self.note_saved(wait=True)
        return self.result(self.evaluate(heldout), workdir)

    def arrays(self):
        """What the device programs read of the batch of the step at hand."""
        return trained_on(self.feed.at(self.n).arrays)

    def begin(self) -> None:
        """Takes the run up where its newest checkpoint is, or starts it."""
        config, resumed = self.config, self.checkpoints.latest() is not None
        damaged = self.restore()
        dropped = self.journal.begin(self.n)
        self.journal.event(
            events.Start(
                self.n,
                num_nodes=config.fabric.num_nodes,
                gpus_per_node=config.fabric.gpus_per_node,
                hops=config.fabric.hops,
                fabric=config.fabric.kind,
                tensor=config.mesh.tensor,
                fsdp=config.mesh.fsdp,
                plan=config.faults,
                resumed=resumed,
                steps_lost=dropped,
            )
        )
        self.note_damaged(damaged)
        self.journal.generation(self.n, self.trainer.generation, config.fabric.num_nodes)

    def restore(self) -> dict[int, str]:
        """Goes to the newest whole checkpoint, on the current mesh; a new run makes its first one,
        of step 0.

        Returns: what is wrong with newer checkpoints, by step.
        """
        trainer = self.trainer
        if self.checkpoints.latest() is None:
            trainer.initialize(self.make_params)
            self.checkpoints.save(0, trainer.state, trainer.exponents)
            return {}
        shardings = trainer.step.shardings(trainer.mesh)
        found = self.checkpoints.restore(trainer.state_shapes(), shardings)
        trainer.adopt(found.state, found.exponents, step=found.step)
        self.n = found.step
        return found.damaged

    def surviving(self, work: Callable[[], Any]) -> Any:
        """The result of `work`, on as many meshes as it takes."""
        failed, recovered = False, []
        while True:
            try:
                if failed or self.trainer.membership_changed():
                    recovered.append(self.recover(failed))
                result = work()
            except NodeFailure:
                failed = True
                continue
            for what, steps_lost in recovered:
                what.watch.lap("step")
                self.journal.recovery(self.n, what, steps_lost)
            self.note_injected()
            return result

    def recover(self, failed: bool) -> tuple[Recovered, int]:
        """The next generation with the state from before step `n`; or an earlier one, if that state
        is lost.
        """
        n, trainer = self.n, self.trainer
        self.note_injected()
        try:
            recovered = trainer.recover(n, failed)
        except (NotEnoughNodes, TimeoutError) as error:
            self.stop(str(error))
        if recovered.state_from == "checkpoint":
            self.note_damaged(self.restore())
            recovered.watch.lap("state")
            self.journal.begin(self.n)
        self.journal.generation(n, recovered.generation, self.config.fabric.num_nodes)
        return recovered, n - self.n

    def note_injected(self) -> None:
        """Writes down what the emulation did; a resumed run will not do it again."""
        known = self.journal.injected()
        for fired in self.trainer.cluster.fired:
            if str(fired.fault) not in known:
                self.journal.event(events.Injected(fired.fault.step, what=str(fired.fault)))

    def note_damaged(self, damaged: dict[int, str]) -> None:
        """Says which checkpoints were passed over for the one that the run goes on from."""
        for step, reason in damaged.items():
            self.journal.event(events.Damaged(step, reason=reason, restored=self.n))

    def save(self) -> None:
        self.journal.sync()
        self.checkpoints.save(self.n, self.trainer.state, self.trainer.exponents)
        self.trainer.cluster.reach(self.n - 1, "saving")

    def note_saved(self, wait: bool = False) -> None:
        """Says of every checkpoint that has come to the disk that it is there."""
        for saved in self.checkpoints.committed(wait):
            self.journal.event(events.Checkpoint(saved.step, seconds=saved.seconds))

    def stop(self, reason: str, kind: type[Stopped] = Stopped) -> None:
        """Saves what is left of the state, says why, and ends the run."""
        self.note_injected()
        state = self.trainer.whole_state()
        if state is not None:
            self.journal.sync()
            self.checkpoints.save(self.n, state, self.trainer.exponents)
        self.note_saved(wait=True)
        self.journal.event(events.Stop(self.n, reason=reason))
        kept = self.n if state is not None else self.checkpoints.latest() or 0
        raise kind(f"stopped before step {self.n}, with {kept} steps saved: {reason}")

    def evaluate(self, heldout: Heldout) -> dict:
        score = dataclasses.asdict(self.surviving(lambda: heldout.score(self.n - 1)))
        self.journal.event(events.Evaluation(self.n, **score))
        return score

    def result(self, score: dict, workdir: Path) -> dict:
        """Writes result.json and report.html."""
        corpus, journal = self.corpus, self.journal
        numbers = summary(
            journal.metrics.path,
            journal.events.path,
            corpus.hash_of,
            corpus.batch_size,
            self.config.steps,
        )
        numbers = dataclasses.asdict(numbers) | {
            "heldout": score,
            "skipped_files": [dataclasses.asdict(skipped) for skipped in corpus.skipped],
            "mixed_files": corpus.mixed,
        }
        files.replace(workdir / "result.json", json.dumps(numbers, indent=1) + "\n")
        self.journal.event(events.End(self.n))
        page.write(workdir)
        return numbers
