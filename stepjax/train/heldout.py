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

from parallel.elastic.cluster import Lower
from parallel.elastic.runtime import Runtime
from parallel.spmd.mesh import REPLICA_AXES, num_rings
from stepjax.data.examples import example, prompt
from stepjax.data.pipeline import heldout_batches
from stepjax.evaluate.error_rates import cer, wer
from stepjax.infer.transcribe import answers, max_new, text_of
from stepjax.model.step_audio import Inputs
from stepjax.train.corpus import Corpus
from stepjax.train.microbatches import in_microbatches, in_order
from stepjax.train.objective import cross_entropy, sums_by_kind
from stepjax.train.programs import Programs
from stepjax.train.step import group_of, over_replicas, trained_on, whole_over_fsdp

LOSSES, ANSWERS = "heldout losses", "heldout answers"


@dataclasses.dataclass(frozen=True)
class Score:
    """Of transcripts: word and character error rate, and mean loss of a token."""

    wer: float
    cer: float
    loss: float


class Heldout:
    """The held-out utterances as microbatches, and the two programs that measure on them."""

    def __init__(self, corpus: Corpus, programs: Programs, microbatch: int):
        self.programs, self.microbatch = programs, microbatch
        self.recipe = corpus.recipe
        self.texts = [corpus.heldout[i].text for i in range(len(corpus.heldout))]
        rows = -(-len(self.texts) // microbatch) * microbatch
        right, asked = (
            heldout_batches(corpus.heldout, corpus.recipe, "transcribe", rows, build)[0].arrays
            for build in (example, prompt)
        )
        self.right = trained_on(right)
        self.asked = {name: asked[name] for name in (*Inputs._fields, "prompt_tokens")}

    def to_run(self) -> dict[str, Lower]:
        """The programs, by name. Their results are whole on every device."""
        return {
            LOSSES: lambda mesh: self._lowered(mesh, self._losses, self.right),
            ANSWERS: lambda mesh: self._lowered(mesh, self._answers, self.asked),
        }

    def score(self, step: int, runtime: Runtime) -> Score:
        """Runs both programs on the state at hand. Raises NodeFailure."""
        sums = self._run(LOSSES, self.right, step, runtime)[..., 0].sum(dtype=np.float64)
        loss = sums / (self.right["kind"] > 0).sum()
        rows = self._run(ANSWERS, self.asked, step, runtime).reshape(-1, max_new(self.recipe))
        said = [text_of(row, self.recipe) for row in rows[: len(self.texts)].tolist()]
        return Score(wer(self.texts, said), cer(self.texts, said), float(loss))

    def _losses(self, params, batch, group):
        """[slots, R, 2]"""

        def one(micro):
            logits = nnx.merge(self.programs.graph, params)(Inputs.of(micro), group)
            nll_Bl = cross_entropy(logits, micro["targets"], group)
            return sums_by_kind(nll_Bl, micro["kind"], group).sum(axis=0)

        return group.gather(jax.lax.map(one, batch)[:, None], dim=1)

    def _answers(self, params, batch, group):
        model = nnx.merge(self.programs.graph, params)
        return answers(model, batch, self.recipe, group)

    def _lowered(self, mesh: Mesh, on_ring: Callable, arrays: dict[str, np.ndarray]):
        group, params = group_of(mesh), self.programs.partition().params
        split = in_microbatches(arrays, self.microbatch, num_rings(mesh))
        rows = NamedSharding(mesh, P(REPLICA_AXES))
        batch = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for name, x in split.items()
        }

        def on_device(params_block, batch):
            return over_replicas(on_ring(whole_over_fsdp(params_block, params), batch, group))

        program = jax.shard_map(
            on_device,
            mesh=mesh, in_specs=(params, P(REPLICA_AXES)), out_specs=P(),
            check_vma=False,  # JAX cannot see that what a ring gathered is alike everywhere
        )  # fmt: skip
        return jax.jit(program).lower(self.programs.shaped(mesh).params, batch)

    def _run(
        self, name: str, arrays: dict[str, np.ndarray], step: int, runtime: Runtime
    ) -> np.ndarray:
        batch = runtime.put(
            in_microbatches(arrays, self.microbatch, runtime.num_rings), REPLICA_AXES
        )
        results = runtime.run(name, runtime.state.params, batch, step=step)
        return in_order(np.asarray(results), runtime.num_rings)
