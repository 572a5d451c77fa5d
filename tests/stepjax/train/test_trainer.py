"""A step is the step of one device; lost is gone; a wrong prediction costs time and no bits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run
from flax import nnx

from parallel.elastic.inject import NodeFailure
from parallel.elastic.snapshot import shards
from stepjax.model.group import Alone
from stepjax.model.step_audio import Inputs
from stepjax.train.objective import KINDS, cross_entropy, sums_by_kind
from stepjax.train.trainer import NotFinite


def step_ref(graph, clip, params, arrays):
    """One step in the plainest way: one device, one batch, `jax.grad`, optax's own clipping."""
    counts = jnp.array([(arrays["kind"] == k + 1).sum() for k in range(len(KINDS))])

    def loss(params):
        logits = nnx.merge(graph, params)(Inputs.of(arrays), Alone())
        sums = sums_by_kind(
            cross_entropy(logits, arrays["targets"], Alone()), arrays["kind"], Alone()
        ).sum(axis=0)
        return sums.sum() / counts.sum(), sums / counts

    (total, by_kind), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    clipped, _ = optax.clip_by_global_norm(clip).update(grads, optax.EmptyState())
    return total, by_kind, optax.tree.norm(grads), clipped


def test_a_step_is_the_step_of_one_device():
    config = tiny_run.config()
    with tiny_run.trainer_on(config) as trainer:
        arrays, params = tiny_run.arrays(config, 0), jax.device_get(trainer.state[0])
        measured = trainer.train_on(0, arrays)
        momentum, graph = jax.device_get(trainer.state[1][0].mu), trainer.step.graph
    total, by_kind, norm, clipped = step_ref(graph, config.optimizer.clip, params, arrays)
    assert measured.loss == pytest.approx(float(total), rel=1e-5)
    assert list(measured.loss_by_kind.values()) == pytest.approx(by_kind.tolist(), rel=1e-5)
    assert measured.grad_norm == pytest.approx(float(norm), rel=1e-4)
    for got, grad in zip(jax.tree.leaves(momentum), jax.tree.leaves(clipped), strict=True):
        want = (1 - config.optimizer.b1) * np.asarray(grad)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("moment", ["before", "during"])
def test_what_a_lost_node_held_is_gone_and_nobody_asks_for_it(moment):
    config = tiny_run.config(f"lose 3 {moment} 0")
    with tiny_run.trainer_on(config) as trainer:
        cluster, arrays, torn = (
            trainer.cluster,
            tiny_run.arrays(config, 0),
            jax.tree.leaves(trainer.state),
        )
        cluster.reach(0, "before")
        with pytest.raises(NodeFailure):
            trainer.train_on(0, arrays)
        lost = [s.data for leaf in torn for s in shards(leaf) if cluster.node_of(s.device) == 3]
        assert len(lost) == 2 * len(torn)
        for block in lost:
            with pytest.raises(RuntimeError, match="deleted"):
                np.asarray(block)
        recovered = trainer.recover(0, after_failure=True)
        assert (recovered.lost, recovered.state_from) == ({3}, "replica")
        assert 3 not in {cluster.node_of(device) for device in trainer.mesh.devices.flat}
        measured = trainer.train_on(0, arrays)
        cluster.check_nothing_on_lost()
    assert measured.loss == tiny_run.without_faults().trajectory[0][1]


def test_a_failed_step_leaves_the_state_as_it_was():
    config = tiny_run.config("lose 3 during 0")
    with tiny_run.trainer_on(config) as trainer:
        before = jax.device_get(jax.tree.map(lambda x: x.addressable_shards[0].data, trainer.state))
        with pytest.raises(NodeFailure):
            trainer.train_on(0, tiny_run.arrays(config, 0))
        after = jax.device_get(jax.tree.map(lambda x: x.addressable_shards[0].data, trainer.state))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_wrong_prediction_of_the_gradients_magnitudes_leaves_no_trace():
    config, measured = tiny_run.config(), []
    for wrong in (0, 60, -60):
        with tiny_run.trainer_on(config) as trainer:
            trainer.exponents = np.full_like(trainer.exponents, wrong)
            measured.append(
                (trainer.train_on(0, tiny_run.arrays(config, 0)), trainer.exponents.tolist())
            )
    assert all(a == b for a, b in itertools.pairwise(measured))


def test_a_number_that_is_not_finite_is_told_with_its_step():
    config = tiny_run.config()
    with tiny_run.trainer_on(config) as trainer:
        trainer.state = jax.tree.map(
            lambda x: x + jnp.nan if x.dtype == jnp.float32 else x, trainer.state
        )
        with pytest.raises(
            NotFinite, match="the loss of step 5 is not finite; lower optimizer.learning_rate"
        ):
            trainer.train_on(5, tiny_run.arrays(config, 5))


def test_the_next_smaller_mesh_is_compiled_before_it_is_needed():
    with tiny_run.trainer_on(tiny_run.config()) as trainer:
        trainer.close()
        assert trainer._gradients.is_prepared((3, 1, 4)) and trainer._gradients.is_prepared(
            (2, 1, 4)
        )
