"""Each ring collective equals its twin, to the last bit, and so does its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from parallel.spmd import ring

SIZES = [1, 2, 3, 4, 8]


def on_ring(f, blocks):
    """Runs `f` on a ring of one device per block; returns every device's result."""
    mesh = Mesh(np.array(jax.devices()[: len(blocks)]), ("tensor",), axis_types=(AxisType.Auto,))
    stacked = jnp.stack(blocks)
    run = jax.shard_map(
        lambda x: f(x[0])[None],
        mesh=mesh,
        in_specs=P("tensor"),
        out_specs=P("tensor"),
        check_vma=False,
    )
    return list(np.asarray(jax.jit(run)(stacked)))


def blocks_of(size, shape, dtype=np.float32):
    rng = np.random.default_rng(size)
    return [rng.normal(size=shape).astype(dtype) for _ in range(size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dim", [0, 1])
def test_all_gather_equals_its_twin(size, dim):
    blocks = blocks_of(size, (3, 5))
    got = on_ring(lambda x: ring.all_gather(x, "tensor", dim), blocks)
    np.testing.assert_array_equal(got, ring.all_gather_ref(blocks, dim))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dim", [0, 1])
def test_reduce_scatter_equals_its_twin(size, dim):
    blocks = blocks_of(size, (2 * size, 3 * size))
    got = on_ring(lambda x: ring.reduce_scatter(x, "tensor", dim), blocks)
    np.testing.assert_array_equal(got, ring.reduce_scatter_ref(blocks, dim))


@pytest.mark.parametrize("size", SIZES)
def test_all_reduce_equals_its_twin_for_any_shape(size):
    blocks = blocks_of(size, (3, 7))
    got = on_ring(lambda x: ring.all_reduce(x, "tensor"), blocks)
    np.testing.assert_array_equal(got, ring.all_reduce_ref(blocks))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_gradients_are_the_transposed_collectives(size):
    blocks, weights = blocks_of(size, (2, 3)), blocks_of(size, (2 * size, 3))
    pairs = [np.concatenate([b, w]) for b, w in zip(blocks, weights, strict=True)]

    def grad_of_gather(pair):
        block, weight = pair[:2], pair[2:]
        return jax.grad(lambda b: jnp.sum(weight * ring.all_gather(b, "tensor", 0)))(block)

    got = on_ring(grad_of_gather, pairs)
    np.testing.assert_array_equal(got, ring.reduce_scatter_ref(weights, 0))

    def grad_of_scatter(pair):
        block, weight = pair[:2], pair[2:]
        return jax.grad(lambda w: jnp.sum(block * ring.reduce_scatter(w, "tensor", 0)))(weight)

    got = on_ring(grad_of_scatter, pairs)
    np.testing.assert_array_equal(got, ring.all_gather_ref(blocks, 0))


def test_rows_that_do_not_split_are_refused_with_the_size_to_pad_to():
    with pytest.raises(
        ValueError, match="5 rows cannot be split over 2 devices of 'tensor'; pad to 6"
    ):
        on_ring(lambda x: ring.reduce_scatter(x, "tensor", 0), blocks_of(2, (5, 2)))
