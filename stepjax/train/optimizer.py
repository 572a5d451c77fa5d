"""AdamW with warm-up and cosine decay, all of it elementwise, so that it needs no communication."""

import jax
import optax


def learning_rate(config, steps: int) -> optax.Schedule:
    """Linear from 0 over `config.warmup` steps to `config.learning_rate`, then a cosine to
    `config.final` of it.
    """
    return optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup, steps, config.learning_rate * config.final
    )


def make(config, steps: int) -> optax.GradientTransformation:
    """Decoupled weight decay (Loshchilov and Hutter 2019) on matrices only. Clipping happens before
    it.
    """
    return optax.chain(
        optax.scale_by_adam(config.b1, config.b2, config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=_is_matrix),
        optax.scale_by_learning_rate(learning_rate(config, steps)),
    )


def _is_matrix(params):
    """Names end in their letters: one letter after the underscore is a vector; biases are never
    decayed.
    """

    def decays(path, _):
        name = path[-1].key
        return "bias" not in name and len(name.rsplit("_", 1)[1]) > 1

    return jax.tree_util.tree_map_with_path(decays, params)
