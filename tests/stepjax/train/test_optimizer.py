"""AdamW by hand, and the two things that the rest relies on: it is elementwise, and only matrices
decay.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run

from stepjax.train import optimizer
from stepjax.train.optimizer import OptimizerConfig
from stepjax.train.programs import model_and_programs

CONFIG = OptimizerConfig.of(tiny_run.config().optimizer)
STEPS = 10
RNG = np.random.default_rng(0)
PARAMS = {
    "q_DHK": RNG.normal(size=(6, 4, 2)),
    "q_bias_HK": RNG.normal(size=(4, 2)),
    "norm_D": RNG.normal(size=6),
}
PARAMS = {name: x.astype(np.float32) for name, x in PARAMS.items()}


def gradient(n: int) -> dict:
    rng = np.random.default_rng([1, n])
    return {name: rng.normal(size=x.shape).astype(np.float32) for name, x in PARAMS.items()}


def trained(params, gradients):
    transformation = optimizer.make(CONFIG, STEPS)
    state = transformation.init(params)
    for grads in gradients:
        updates, state = transformation.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def adamw_ref(x, gradients, rates, decay):
    """Algorithm 2 of Loshchilov and Hutter (2019), in float64."""
    x, m, v = x.astype(np.float64), 0.0, 0.0
    for n, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = CONFIG.b1 * m + (1 - CONFIG.b1) * g
        v = CONFIG.b2 * v + (1 - CONFIG.b2) * g.astype(np.float64) ** 2
        corrected = (m / (1 - CONFIG.b1**n)) / (np.sqrt(v / (1 - CONFIG.b2**n)) + CONFIG.eps)
        x = x - rate * (corrected + decay * x)
    return x


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine():
    rate = optimizer.learning_rate(CONFIG, STEPS)
    top, warmup = CONFIG.learning_rate, CONFIG.warmup
    assert [float(rate(n)) for n in range(warmup + 1)] == pytest.approx(
        [top * n / warmup for n in range(warmup + 1)]
    )
    middle = warmup + (STEPS - warmup) / 2
    assert float(rate(middle)) == pytest.approx(top * (1 + CONFIG.final) / 2)
    assert float(rate(STEPS)) == pytest.approx(top * CONFIG.final)


def test_five_steps_by_hand():
    gradients = [gradient(n) for n in range(5)]
    got, _ = trained(PARAMS, gradients)
    rates = [float(optimizer.learning_rate(CONFIG, STEPS)(n)) for n in range(5)]
    for name, x in PARAMS.items():
        decay = CONFIG.weight_decay if name == "q_DHK" else 0.0
        want = adamw_ref(x, [grads[name] for grads in gradients], rates, decay)
        np.testing.assert_allclose(got[name], want, rtol=1e-5)


def test_parts_are_updated_as_the_whole_is_to_the_bit():
    """So a device may keep any part of a parameter, and nothing is sent in an update."""
    gradients = [gradient(n) for n in range(3)]
    whole, _ = trained(PARAMS, gradients)
    for part in (slice(0, 3), slice(3, 6)):
        cut = [{"q_DHK": grads["q_DHK"][part]} for grads in gradients]
        got, _ = trained({"q_DHK": PARAMS["q_DHK"][part]}, cut)
        assert np.asarray(got["q_DHK"]).tobytes() == np.asarray(whole["q_DHK"][part]).tobytes()


def test_of_the_model_matrices_decay_and_nothing_else_does():
    config = tiny_run.config()
    _, programs = model_and_programs(config, vocabulary=320)
    transformation = optimizer.make(CONFIG, config.steps)
    ones = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), programs.params)
    nothing = jax.tree.map(jnp.zeros_like, ones)

    @jax.jit
    def second_update():  # the rate of the first one is 0
        _, state = transformation.update(nothing, transformation.init(ones), ones)
        return transformation.update(nothing, state, ones)[0]

    updates = second_update()
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        keys = [key.key for key in path]
        vector = "bias" in keys[-1] or update.ndim - ("blocks" in keys) == 1
        assert (np.asarray(update) == 0).all() if vector else (np.asarray(update) < 0).all(), keys
