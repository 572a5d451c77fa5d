"""A step of training, on whatever mesh there is at the moment.

M microbatches of a global batch   N parameters
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from parallel.elastic.cluster import Lower
from parallel.elastic.runtime import Runtime
from parallel.spmd import reduce
from parallel.spmd.mesh import REPLICA_AXES, TENSOR
from stepjax.train.microbatches import in_microbatches
from stepjax.train.objective import KINDS
from stepjax.train.programs import GRADIENTS, UPDATE, Programs, State


class NotFinite(RuntimeError):
    """The loss of a step is not a finite number."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one step gives for the log."""

    loss: float
    loss_by_kind: dict[str, float | None]  # mean of a token; None if the batch has none of the kind
    grad_norm: float
    tokens: int  # with a loss


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Trains on global batches of one shape.

    Args:
      batch_shapes: of one global batch's arrays, by name: what the model and the loss read.
      microbatch: rows of a microbatch.
      kind_weights: weight of a token of each kind in the loss.
    """

    programs: Programs
    batch_shapes: Mapping[str, jax.ShapeDtypeStruct]
    microbatch: int
    kind_weights: Mapping[str, float]

    def to_run(self) -> dict[str, Lower]:
        """The programs of a step, by name."""
        gradients = functools.partial(
            self.programs.gradients, batch_shapes=self.batch_shapes, microbatch=self.microbatch
        )
        return {GRADIENTS: gradients, UPDATE: self.programs.update}

    def step(self, n: int, arrays: Mapping[str, np.ndarray], runtime: Runtime) -> Measured:
        """Step `n` on its global batch.

        Raises:  NodeFailure, with the state as it was; NotFinite.
        """
        counts = np.array([(arrays["kind"] == k + 1).sum() for k in range(len(KINDS))])
        kind_weights = np.array([self.kind_weights[kind] for kind in KINDS], np.float32)
        weights = (kind_weights / max(kind_weights @ counts, 1e-9)).astype(np.float32)
        grads, largest, norm, sums, terms = self._gradients(n, arrays, weights, runtime)
        runtime.cluster.commit(n, grads)
        params, optimizer, _ = runtime.state
        changed = runtime.run(UPDATE, (params, optimizer), grads, norm, step=n)
        exponents = runtime.put(reduce.predict(largest, terms))
        runtime.hold(n + 1, State(*changed, exponents))
        by_kind = {
            kind: s / c if c else None
            for kind, s, c in zip(KINDS, sums.tolist(), counts.tolist(), strict=True)
        }
        return Measured(
            float(weights.astype(np.float64) @ sums), by_kind, float(norm), int(counts.sum())
        )

    def _gradients(self, n: int, arrays, weights: np.ndarray, runtime: Runtime) -> tuple[Any, ...]:
        """Gradients, largest magnitudes, norm, sums of losses, and terms of a sum, with exponents
        that the gradients fit: those predicted at the step before, or else those of the gradients.
        """
        num_microbatches = len(arrays["kind"]) // self.microbatch
        batch = runtime.put(
            in_microbatches(arrays, self.microbatch, runtime.num_rings), REPLICA_AXES
        )
        slots = runtime.put(np.int32(-(-num_microbatches // runtime.num_rings)))
        terms = num_microbatches * runtime.mesh.shape[TENSOR]
        exponents = runtime.read(runtime.state.exponents, n)
        while True:
            scales = runtime.put(reduce.scales(exponents))
            inputs = runtime.state.params, batch, runtime.put(weights), scales, slots
            grads, largest, norm, losses = runtime.run(GRADIENTS, *inputs, step=n)
            of_kind = np.asarray(losses).reshape(-1, len(KINDS)).T
            sums, largest = np.array([math.fsum(x) for x in of_kind]), np.asarray(largest)
            if not (np.isfinite(sums).all() and np.isfinite(largest).all()):
                raise NotFinite(
                    f"the loss of step {n} is not finite; lower optimizer.learning_rate or "
                    "optimizer.clip, and train in another --workdir."
                )
            if reduce.fits(exponents, largest, terms):
                return grads, largest, norm, sums, terms
            exponents = reduce.predict(largest, terms)
