"""AdamW with warm-up and cosine decay, all of it elementwise, so that it needs no communication."""

import jax
import optax

from stepjax.train.sharding import letters


def learning_rate(config, steps: int) -> optax.Schedule:
    """Linear from 0 to `config.learning_rate` in `config.warmup` steps, then a cosine."""
    return optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup, steps, config.learning_rate * config.final
    )


def make(config, steps: int) -> optax.GradientTransformation:
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
