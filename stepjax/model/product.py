"""Products of two tensors in einsum's letters, with gradients as fast as they are themselves.

Every einsum of two tensors is a product of matrices, `left` [kept, summed] by `right` [summed,
kept], for each place of the letters that both have in common with the result. XLA's fast kernel on
CPUs takes it in just this order, and its bits do not depend on how many threads there are. A model
is written so. But the gradient of a weight sums over the first letters of the activations: for it
XLA takes another kernel, up to twice as slow, and splits sums over threads. So here the gradient's
left side is brought in order first.
"""

import functools

import jax
import jax.numpy as jnp


def einsum(letters: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """`jnp.einsum` of two tensors, in the dtype of `left`.

    Each letter must be in two of the three places: left, right and result.

    >>> einsum("TD,DN->TN", jnp.array([[1.0, 2.0]]), jnp.array([[3], [4]])).tolist()
    [[11.0]]
    """
    return _product(letters, left, right.astype(left.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(letters, left, right):
    return jnp.einsum(letters, left, right)


def _forward(letters, left, right):
    return _product(letters, left, right), (left, right)


def _backward(letters, kept, grad):
    left, right = kept
    of_left, of_right, of_result = letters.replace("->", ",").split(",")
    grad = _held(grad)  # else XLA calculates it anew in each of the two products
    return (
        _in_order(of_result, of_right, of_left, grad, right),
        _in_order(of_left, of_result, of_right, left, grad),
    )


_product.defvjp(_forward, _backward)


def _in_order(of_left: str, of_right: str, of_result: str, left, right):
    """An einsum, with the letters of its left side moved: those in common, kept, summed.

    "BTW,BTHK->WHK", the gradient of a weight, becomes "WBT,BTHK->WHK".
    """
    common = [x for x in of_result if x in of_left and x in of_right]
    kept = [x for x in of_result if x in of_left and x not in of_right]
    summed = [x for x in of_left if x not in of_result]
    ordered = "".join((*common, *kept, *summed))
    if ordered != of_left:
        left = _held(jnp.einsum(f"{of_left}->{ordered}", left))
    # In the order in which it is calculated: for another, jnp.einsum may swap the two sides.
    made = "".join((*common, *kept, *(x for x in of_right if x not in ordered)))
    y = jnp.einsum(f"{ordered},{of_right}->{made}", left, right)
    return jnp.einsum(f"{made}->{of_result}", y)


def _held(x):
    """`x`; on CPUs, XLA must hold it in memory as it is."""
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)
