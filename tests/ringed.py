"""Runs one definition of a layer on one device or on a ring of them, and compares."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec as P

from parallel.spmd.mesh import stand_in
from stepjax.model.layers import part
from stepjax.train.sharding import dim_of, specs
from stepjax.train.step import group_of

# For programs that run once: half of the time to compile.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
jit = functools.partial(jax.jit, compiler_options=QUICK)


def on_ring(f, size, args, in_specs, out_specs):
    """f(*blocks, group) on every device of a ring; what it returns is put together and fetched."""
    mesh = stand_in((1, 1, size), jax.devices())
    group = group_of(mesh)
    run = jax.shard_map(
        lambda *blocks: f(*blocks, group),
        mesh=mesh,
        in_specs=in_specs,
        out_specs=out_specs,
        check_vma=False,
    )
    return jax.tree.map(np.asarray, jit(run)(*args))


def split(module):
    """(graph, parameters, their PartitionSpecs), as training splits a model."""
    graph, params = nnx.split(module, nnx.Param)
    params = nnx.to_pure_dict(params)
    return graph, params, specs(params, fsdp=1)


def outputs_and_gradients(forward, module, inputs, size, dim=1):
    """What `forward(module, *inputs, group)` gives on a ring of `size`, and the gradients of a
    weighted sum of it.

    Args:  forward: takes whole inputs, returns this device's part along `dim`.
    """
    graph, params, partition = split(module)

    def on_device(params, *inputs_and_group):
        group = inputs_and_group[-1]

        def weighted_sum(params):
            out = forward(nnx.merge(graph, params), *inputs_and_group)
            shape = [n * size if d == dim else n for d, n in enumerate(out.shape)]
            weights = jnp.cos(jnp.arange(math.prod(shape), dtype=jnp.float32)).reshape(shape)
            return (out * part(weights, group, dim)).sum(), out

        grads, out = jax.grad(weighted_sum, has_aux=True)(params)
        whole = jax.tree.map(
            lambda g, p: g if dim_of("tensor", p) is not None else jax.lax.psum(g, "tensor"),
            grads,
            partition,
        )
        return out, whole

    parts = P(*[None] * dim, "tensor")
    return on_ring(
        on_device, size, [params, *inputs], (partition, *[P()] * len(inputs)), (parts, partition)
    )


def assert_close(got, want, tolerance):
    """Every leaf of `got` differs from that of `want` by at most `tolerance` of its largest
    magnitude.
    """

    def check(path, a, b):
        name = jax.tree_util.keystr(path)
        assert a.shape == b.shape, name
        error, size = np.abs(a - b).max(), np.abs(b).max()
        assert size > 0 and error <= tolerance * size, (
            f"{name}: off by {error:.1e}, the largest is {size:.1e}"
        )

    jax.tree_util.tree_map_with_path(check, got, want)
