"""Products are einsums, and so are their gradients, in the order of letters that is fast."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepjax.model.product import einsum

SIZE = {"B": 2, "T": 5, "S": 4, "D": 8, "H": 3, "K": 6}
OF_THE_MODEL = (
    "BTD,DHK->BTHK",
    "BTHK,HKD->BTD",
    "BTHK,BSHK->BHTS",
    "BHTS,BSHK->BTHK",
    "TD,DK->TK",
)


def tensors(letters: str):
    rng = np.random.default_rng(0)
    of_left, of_right, of_result = letters.replace("->", ",").split(",")
    return [
        rng.normal(size=[SIZE[x] for x in of]).astype(np.float32)
        for of in (of_left, of_right, of_result)
    ]


def assert_equal_with_gradients(letters: str):
    left, right, weight = tensors(letters)

    def total(product):
        return lambda left, right: (weight * product(letters, left, right)).sum()

    got, grads = jax.value_and_grad(total(einsum), (0, 1))(left, right)
    want, wanted = jax.value_and_grad(total(jnp.einsum), (0, 1))(left, right)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    for grad, one in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(grad, one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("letters", OF_THE_MODEL)
def test_products_of_the_model_and_their_gradients(letters):
    assert_equal_with_gradients(letters)


@st.composite
def any_letters(draw):
    """Every letter stands in two of the three places or in all, in any order."""
    places = [draw(st.sampled_from(["lr", "lo", "ro", "lro"])) for _ in "BTSD"]
    sides = []
    for side in "lro":
        mine = [x for x, where in zip("BTSD", places, strict=True) if side in where]
        sides.append("".join(draw(st.permutations(mine))))
    return f"{sides[0]},{sides[1]}->{sides[2]}"


@settings(max_examples=25)  # each is compiled
@given(any_letters())
def test_any_product_and_its_gradients(letters):
    assert_equal_with_gradients(letters)


@pytest.mark.parametrize("letters", OF_THE_MODEL)
def test_gradients_are_compiled_to_products_whose_left_side_ends_in_what_is_summed(letters):
    left, right, weight = tensors(letters)
    grads = jax.grad(lambda *sides: (weight * jnp.sin(einsum(letters, *sides))).sum(), (0, 1))
    text = jax.jit(grads).lower(left, right).compile().as_text()
    dots = re.findall(r"= f32\[([\d,]*)\]\S* dot\(.*lhs_contracting_dims=\{([\d,]*)\}", text)
    batches = re.findall(r" dot\(.*?(?:lhs_batch_dims=\{([\d,]*)\})?, lhs_contracting", text)
    assert len(dots) == 3, "the product itself, and one for each side's gradient"
    for (_, summed), batch in zip(dots, batches, strict=True):
        common = batch.count(",") + 1 if batch else 0
        assert summed == str(common + 1), "XLA's products have one letter of each kind"


def test_the_result_has_the_dtype_of_the_left_side():
    left, right = jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 4))
    assert einsum("TD,DN->TN", left, right).dtype == jnp.bfloat16
    grad = jax.grad(lambda right: einsum("TD,DN->TN", left, right).astype(jnp.float32).sum())
    assert grad(right).dtype == jnp.float32
