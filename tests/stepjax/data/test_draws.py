"""Random numbers by name."""

import numpy as np
import pytest

from stepjax.data import draws


def test_a_draw_depends_on_its_name_alone():
    first = draws.generator(3, "train", 5).random(4)
    draws.generator(3, "train", 6).random(100)
    np.testing.assert_array_equal(draws.generator(3, "train", 5).random(4), first)
    others = [
        draws.generator(*words).random(4)
        for words in [(4, "train", 5), (3, "heldout", 5), (3, "train", 6), (3, "train", "5x")]
    ]
    assert not any(np.array_equal(first, other) for other in others)


def test_draws_are_those_of_last_year():
    assert draws.generator(0, "train", np.int64(7)).integers(1_000_000) == 201_568
    assert draws.share("a.wav") == pytest.approx(0.27590413261605007)


def test_shares_are_even():
    shares = np.array([draws.share(f"{k}.wav") for k in range(4_000)])
    assert 0 <= shares.min() < 0.01 < 0.99 < shares.max() < 1
    counts, _ = np.histogram(shares, bins=10, range=(0, 1))
    assert abs(counts - 400).max() < 90  # more than four standard deviations
