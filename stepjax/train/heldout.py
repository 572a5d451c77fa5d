"""Measures the model on held-out speech: loss of the right transcript, errors of its own one.

M microbatches   b rows of one   R tensor-parallel size
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.spmd.executables import Program
from parallel.spmd.mesh import REPLICA_AXES, TENSOR, num_rings
from stepjax.data.examples import example, prompt
from stepjax.data.pipeline import heldout_batches
from stepjax.evaluate.error_rates import cer, wer
from stepjax.infer.transcribe import answers, max_new, text_of
from stepjax.model.step_audio import Inputs
from stepjax.train.corpus import Corpus
from stepjax.train.microbatches import in_microbatches, in_order
from stepjax.train.objective import cross_entropy, sums_by_kind
from stepjax.train.step import group_of, trained_on, whole_over_fsdp
from stepjax.train.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Score:
    """Of transcripts: word and character error rate, and mean loss of a token."""

    wer: float
    cer: float
    loss: float


class Heldout:
    """The held-out utterances as microbatches, and the two programs that measure on them."""

    def __init__(self, corpus: Corpus, trainer: Trainer, microbatch: int):
        self.trainer, self.microbatch = trainer, microbatch
        self.recipe = corpus.recipe
        self.texts = [corpus.heldout[i].text for i in range(len(corpus.heldout))]
        rows = -(-len(self.texts) // microbatch) * microbatch
        right, asked = (
            heldout_batches(corpus.heldout, corpus.recipe, "transcribe", rows, build)[0].arrays
            for build in (example, prompt)
        )
        self.right = trained_on(right)
        self.asked = {name: asked[name] for name in (*Inputs._fields, "prompt_tokens")}
        self._losses = self._program(self._loss_of, self.right, P(REPLICA_AXES, TENSOR))
        self._answers = self._program(self._answer_to, self.asked, P(REPLICA_AXES))

    def score(self, step: int) -> Score:
        """Runs both programs on the trainer's mesh. Raises NodeFailure."""
        sums = self._run(self._losses, self.right, step)[..., 0].sum(dtype=np.float64)
        loss = sums / (self.right["kind"] > 0).sum()
        rows = self._run(self._answers, self.asked, step).reshape(-1, max_new(self.recipe))
        said = [text_of(row, self.recipe) for row in rows[: len(self.texts)].tolist()]
        return Score(wer(self.texts, said), cer(self.texts, said), float(loss))

    def _loss_of(self, params, batch, group):
        def one(micro):
            logits = nnx.merge(self.trainer.step.graph, params)(Inputs.of(micro), group)
            nll_Bl = cross_entropy(logits, micro["targets"], group)
            return sums_by_kind(nll_Bl, micro["kind"], group).sum(axis=0)

        return jax.lax.map(one, batch)[:, None]

    def _answer_to(self, params, batch, group):
        model = nnx.merge(self.trainer.step.graph, params)
        return answers(model, batch, self.recipe, group)

    def _program(self, on_ring: Callable, arrays: dict[str, np.ndarray], out: P) -> Program:
        step = self.trainer.step
        params, _ = step.partition()

        def lower(mesh: Mesh):
            group = group_of(mesh)
            split = in_microbatches(arrays, self.microbatch, num_rings(mesh))
            rows = NamedSharding(mesh, P(REPLICA_AXES))
            batch = {
                name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows)
                for name, x in split.items()
            }
            run = jax.shard_map(
                lambda p, b: on_ring(whole_over_fsdp(p, params), b, group),
                mesh=mesh, in_specs=(params, P(REPLICA_AXES)), out_specs=out,
                check_vma=False,  # JAX cannot see that what a ring gathered is alike everywhere
            )  # fmt: skip
            return jax.jit(run).lower(
                self.trainer.shaped(step.shapes, step.shardings(mesh)[0]), batch
            )

        return Program(lower, self.trainer.devices)

    def _run(self, program: Program, arrays: dict[str, np.ndarray], step: int) -> np.ndarray:
        trainer = self.trainer
        batch = trainer.on_mesh(
            in_microbatches(arrays, self.microbatch, trainer.num_rings), REPLICA_AXES
        )
        results = trainer.cluster.run(program.on(trainer.mesh), trainer.state[0], batch, step=step)
        return in_order(np.asarray(results), trainer.num_rings)
