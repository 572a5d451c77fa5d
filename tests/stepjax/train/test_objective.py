"""Cross-entropy with a split vocabulary equals a plain log-softmax, and every loss is counted where
it belongs.
"""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from ringed import on_ring

from stepjax.train.objective import KINDS, cross_entropy, sums_by_kind

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=4, size=(3, 8, 16)).astype(np.float32)
TARGETS = RNG.integers(0, 16, size=(3, 8)).astype(np.int32)
WEIGHTS = RNG.normal(size=(3, 8)).astype(np.float32)


def log_softmax_ref(logits_BLV):
    x = logits_BLV.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def cross_entropy_ref(logits_BLV, targets_BL):
    return -np.take_along_axis(log_softmax_ref(logits_BLV), targets_BL[..., None], axis=-1)[..., 0]


def losses_and_gradient(logits_BLV, size):
    """Of the sum of losses times WEIGHTS; logits split over the vocabulary, losses over
    positions.
    """

    def on_device(logits_BLv, targets_BL, weights_Bl, group):
        def loss(logits_BLv):
            nll_Bl = cross_entropy(logits_BLv, targets_BL, group)
            return (nll_Bl * weights_Bl).sum(), nll_Bl

        grads, nll_Bl = jax.grad(loss, has_aux=True)(logits_BLv)
        return nll_Bl, grads

    by_token, by_position = P(None, None, "tensor"), P(None, "tensor")
    return on_ring(
        on_device,
        size,
        [logits_BLV, TARGETS, WEIGHTS],
        (by_token, P(), by_position),
        (by_position, by_token),
    )


@pytest.mark.parametrize("size", [1, 2, 4])
def test_it_is_a_plain_log_softmax_on_any_ring(size):
    losses, _ = losses_and_gradient(LOGITS, size)
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, cross_entropy_ref(LOGITS, TARGETS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_its_gradient_is_softmax_minus_the_target(size):
    _, grads = losses_and_gradient(LOGITS, size)
    want = (np.exp(log_softmax_ref(LOGITS)) - np.eye(16)[TARGETS]) * WEIGHTS[..., None]
    np.testing.assert_allclose(grads, want, atol=1e-6)


@pytest.mark.parametrize("size", [1, 4])
def test_huge_logits_do_not_overflow(size):
    huge = 1000 * LOGITS
    losses, grads = losses_and_gradient(huge, size)
    np.testing.assert_allclose(losses, cross_entropy_ref(huge, TARGETS), rtol=1e-5, atol=1e-3)
    assert np.isfinite(grads).all()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_kind_gets_the_losses_of_its_positions_and_no_others(size):
    kind_BL = RNG.integers(0, 3, size=(3, 8)).astype(np.int32)
    nll_BL = 2.0 ** np.arange(24, dtype=np.float32).reshape(3, 8)  # a sum tells its terms
    got = on_ring(
        lambda nll_Bl, kind_BL, group: sums_by_kind(nll_Bl, kind_BL, group)[None],
        size, [nll_BL, kind_BL], (P(None, "tensor"), P()), P("tensor"),
    )  # fmt: skip
    assert KINDS == ("text", "audio")
    for device, sums in enumerate(got):
        own = slice(device * 8 // size, (device + 1) * 8 // size)
        for row in range(3):
            for k in (1, 2):
                assert sums[row, k - 1] == sum(nll_BL[row, own][kind_BL[row, own] == k])
