"""A step is the step of one device; lost is gone; a wrong prediction costs time and no bits."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run
from flax import nnx
from jax.sharding import PartitionSpec as P

from parallel.elastic.cluster import NodeFailure
from parallel.elastic.snapshot import shards
from parallel.spmd.mesh import stand_in
from stepjax.model.group import Alone
from stepjax.model.step_audio import Inputs
from stepjax.train.objective import KINDS, cross_entropy, sums_by_kind
from stepjax.train.programs import GRADIENTS, UPDATE
from stepjax.train.step import group_of, largest_over_mesh
from stepjax.train.trainer import NotFinite


def first_blocks(state):
    """The first block of every array, in host memory."""
    return jax.device_get(jax.tree.map(lambda x: x.addressable_shards[0].data, state))


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
    with tiny_run.job_on(config) as begun:
        runtime, graph = begun.runtime, begun.job.device.graph
        arrays, params = tiny_run.arrays(config, 0), jax.device_get(runtime.state.params)
        measured = begun.step(0, arrays)
        momentum = jax.device_get(runtime.state.optimizer[0].mu)
    total, by_kind, norm, clipped = step_ref(graph, config.optimizer.clip, params, arrays)
    assert measured.loss == pytest.approx(float(total), rel=1e-5)
    assert list(measured.loss_by_kind.values()) == pytest.approx(by_kind.tolist(), rel=1e-5)
    assert measured.grad_norm == pytest.approx(float(norm), rel=1e-4)
    for got, grad in zip(jax.tree.leaves(momentum), jax.tree.leaves(clipped), strict=True):
        want = (1 - config.optimizer.b1) * np.asarray(grad)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("node", [0, 3])  # JAX reads what all devices hold from the first one
@pytest.mark.parametrize("moment", ["before", "during"])
def test_what_a_lost_node_held_is_gone_and_nobody_asks_for_it(moment, node):
    config = tiny_run.config(f"lose {node} {moment} 0")
    with tiny_run.job_on(config) as begun:
        arrays, runtime = tiny_run.arrays(config, 0), begun.runtime
        cluster, torn = runtime.cluster, jax.tree.leaves(runtime.state)
        cluster.progress(0, "before")
        with pytest.raises(NodeFailure):
            begun.step(0, arrays)
        lost = [s.data for leaf in torn for s in shards(leaf) if cluster.node_of(s.device) == node]
        assert len(lost) == 2 * len(torn)
        for block in lost:
            with pytest.raises(RuntimeError, match="deleted"):
                np.asarray(block)
        done = runtime.surviving(0, lambda n: begun.step(n, arrays), go_back=None)
        (recovered,) = done.recovered
        assert (recovered.lost, recovered.state_from) == ({node}, "replica")
        assert (done.step, recovered.steps_lost, runtime.step) == (0, 0, 1)
        assert node not in {cluster.node_of(device) for device in runtime.mesh.devices.flat}
        cluster.check_nothing_on_lost()
    assert done.result.loss == tiny_run.without_faults().trajectory[0][1]


def test_a_failed_step_leaves_the_state_as_it_was():
    config = tiny_run.config("lose 3 during 0")
    with tiny_run.job_on(config) as begun:
        before = first_blocks(begun.runtime.state)
        with pytest.raises(NodeFailure):
            begun.step(0, tiny_run.arrays(config, 0))
        assert begun.runtime.step == 0
        after = first_blocks(begun.runtime.state)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_wrong_prediction_of_the_gradients_magnitudes_leaves_no_trace():
    config, measured = tiny_run.config(), []
    for wrong in (0, 60, -60):
        with tiny_run.job_on(config) as begun:
            runtime = begun.runtime
            exponents = runtime.put(np.full(runtime.state.exponents.shape, wrong, np.int32))
            runtime.hold(0, runtime.state._replace(exponents=exponents))
            of_step = begun.step(0, tiny_run.arrays(config, 0))
            measured.append((of_step, np.asarray(runtime.state.exponents).tolist()))
    assert all(a == b for a, b in itertools.pairwise(measured))


def poisoned(arrays: dict) -> dict:
    """The last recording holds a number that is not finite."""
    audio = arrays["audio"].copy()
    audio[-1, 0] = np.nan
    return arrays | {"audio": audio}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_all_devices_hear_of_the_one_whose_gradient_is_not_finite(bad):
    mesh = stand_in((2, 1, 2), jax.devices())
    everywhere = P(mesh.axis_names)
    heard = jax.jit(
        jax.shard_map(
            lambda x: largest_over_mesh(x[0], group_of(mesh))[None],
            mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False,
        )
    )  # fmt: skip
    for device in range(4):
        largest = np.arange(8, dtype=np.float32).reshape(4, 2)
        largest[device, 1] = bad
        want = [max(largest[:, 0]), np.inf]
        assert np.asarray(heard(largest)).tolist() == [want] * 4


def test_a_step_that_is_not_finite_leaves_the_state_as_it_was_and_is_counted():
    config = tiny_run.config()
    with tiny_run.job_on(config) as begun:
        arrays = tiny_run.arrays(config, 0)
        begun.step(0, arrays)
        before = first_blocks(begun.runtime.state)
        skipped = begun.step(1, poisoned(arrays))
        after = first_blocks(begun.runtime.state)
        assert begun.runtime.step == 2
        begun.step(2, arrays)
        counted = np.asarray(begun.runtime.state.skipped).tolist()
    assert (skipped.loss, skipped.grad_norm, skipped.skipped) == (None, None, 0)
    assert None in skipped.loss_by_kind.values()
    assert (before.skipped.tolist(), after.skipped.tolist(), counted) == ([0, 0], [1, 1], [1, 0])
    for a, b in zip(jax.tree.leaves(before[:3]), jax.tree.leaves(after[:3]), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(("give_up_after", "which"), [(1, "step 5"), (3, "steps 5 to 7")])
def test_too_many_of_them_in_a_row_are_told_with_their_steps(give_up_after, which):
    config = tiny_run.config()
    bad = poisoned(tiny_run.arrays(config, 0))
    with tiny_run.job_on(config) as begun:
        trainer = dataclasses.replace(begun.job.trainer, give_up_after=give_up_after)
        begun.runtime.hold(5, begun.runtime.state)
        for n in range(5, 4 + give_up_after):
            assert trainer.step(n, bad, begun.runtime).skipped == n - 5
        said = f"^the loss or gradient of {which} is not finite; lower optimizer.learning_rate or"
        with pytest.raises(NotFinite, match=said):
            trainer.step(4 + give_up_after, bad, begun.runtime)


def test_the_next_smaller_mesh_is_compiled_before_it_is_needed():
    with tiny_run.job_on(tiny_run.config()) as begun:
        begun.runtime.prepare()
        begun.runtime.close()
        programs = begun.runtime._programs
        for name in (GRADIENTS, UPDATE):
            assert programs[name].is_prepared((3, 1, 4)) and programs[name].is_prepared((2, 1, 4))
