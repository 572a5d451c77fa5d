"""AdamW with warm-up and cosine decay, all of it elementwise, so that it needs no communication."""

import dataclasses

import jax
import optax

from stepjax.fields import Section, real, whole
from stepjax.train.sharding import letters


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Section, place="optimizer"):
    """Of AdamW, and of the learning rate over the run."""

    learning_rate: float = real(1e-12, 10.0)  # at its highest
    warmup: int = whole(0, 10**9)  # steps
    final: float = real(0.0, 1.0)  # of the learning rate, at the last step
    b1: float = real(0.0, 0.9999999)  # the largest that float32 tells from 1
    b2: float = real(0.0, 0.9999999)
    eps: float = real(1e-30, 1.0)
    weight_decay: float = real(0.0, 10.0)
    clip: float = real(1e-12, 1e12)  # largest norm of a gradient
    give_up_after: int = whole(1, 10**9)  # steps in a row whose loss or gradient is not finite


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear from 0 to `config.learning_rate` in `config.warmup` steps, then a cosine."""
    return optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup, steps, config.learning_rate * config.final
    )


def make(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Adam with decoupled decay of matrices (Loshchilov and Hutter 2019), after any clipping."""
    return optax.chain(
        optax.scale_by_adam(config.b1, config.b2, config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=_is_matrix),
        optax.scale_by_learning_rate(learning_rate(config, steps)),
    )


def _is_matrix(params):
    """Biases of any shape and parameters of one letter are vectors; all others are matrices."""

    def decays(path, _):
        name = path[-1].key
        return "bias" not in name and len(letters(name)) > 1

    return jax.tree_util.tree_map_with_path(decays, params)
