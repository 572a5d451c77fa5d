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
    """The loss or the gradient of too many steps in a row is not finite."""

    def __init__(self, last: int, in_a_row: int):
        which = f"step {last}" if in_a_row == 1 else f"steps {last - in_a_row + 1} to {last}"
        super().__init__(
            f"the loss or gradient of {which} is not finite; lower optimizer.learning_rate or "
            "optimizer.clip, and train in another --workdir."
        )


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one step gives for the log. A loss that is not finite is None."""

    loss: float | None
    loss_by_kind: dict[str, float | None]  # mean of a token; None if the batch has none of the kind
    grad_norm: float | None  # None if the step was skipped
    tokens: int  # with a loss
    skipped: int  # steps before this one


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Trains on global batches of one shape.

    Args:
      batch_shapes: of one global batch's arrays, by name: what the model and the loss read.
      microbatch: rows of a microbatch.
      kind_weights: weight of a token of each kind in the loss.
      give_up_after: steps in a row whose loss or gradient is not finite.
    """

    programs: Programs
    batch_shapes: Mapping[str, jax.ShapeDtypeStruct]
    microbatch: int
    kind_weights: Mapping[str, float]
    give_up_after: int

    def to_run(self) -> dict[str, Lower]:
        """The programs of a step, by name."""
        gradients = functools.partial(
            self.programs.gradients, batch_shapes=self.batch_shapes, microbatch=self.microbatch
        )
        return {GRADIENTS: gradients, UPDATE: self.programs.update}

    def step(self, n: int, arrays: Mapping[str, np.ndarray], runtime: Runtime) -> Measured:
        """Step `n` on its global batch.

        If its loss or its gradient is not finite, it is skipped: the nodes commit it as any other,
        but all that it changes of the state is the count of skipped steps.
        Raises:  NodeFailure, with the state as it was; NotFinite, instead of skipping too many in
                 a row.
        """
        counts = np.array([(arrays["kind"] == k + 1).sum() for k in range(len(KINDS))])
        kind_weights = np.array([self.kind_weights[kind] for kind in KINDS], np.float32)
        weights = (kind_weights / max(kind_weights @ counts, 1e-9)).astype(np.float32)
        skipped, in_a_row = runtime.read(runtime.state.skipped, n).tolist()
        grads, largest, norm, sums, terms = self._gradients(n, arrays, weights, runtime)
        finite = _are_finite(sums, largest, norm)
        if not finite and in_a_row + 1 >= self.give_up_after:
            raise NotFinite(n, in_a_row + 1)
        runtime.cluster.commit(n, grads)
        counted = [skipped, 0] if finite else [skipped + 1, in_a_row + 1]
        state = runtime.state._replace(skipped=runtime.put(np.array(counted, np.int32)))
        if finite:
            params, optimizer = runtime.run(UPDATE, state[:2], grads, norm, step=n)
            exponents = runtime.put(reduce.predict(largest, terms))
            state = State(params, optimizer, exponents, state.skipped)
        runtime.hold(n + 1, state)
        by_kind = {
            kind: _finite(s / c) if c else None
            for kind, s, c in zip(KINDS, sums.tolist(), counts.tolist(), strict=True)
        }
        return Measured(
            _finite(float(weights.astype(np.float64) @ sums)),
            by_kind,
            float(norm) if finite else None,
            int(counts.sum()),
            skipped,
        )

    def _gradients(self, n: int, arrays, weights: np.ndarray, runtime: Runtime) -> tuple[Any, ...]:
        """Gradients, largest magnitudes, norm, sums of losses, and terms of a sum, with exponents
        that the gradients fit: those predicted at the step before, or else those of the gradients.
        None fit what is not finite.
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
            if not _are_finite(sums, largest) or reduce.fits(exponents, largest, terms):
                return grads, largest, norm, sums, terms
            exponents = reduce.predict(largest, terms)


def _are_finite(*arrays: Any) -> bool:
    return all(np.isfinite(np.asarray(x)).all() for x in arrays)


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
