"""What all corpora share: refusals, and indices that are evenly apart."""

import numpy as np
import pytest

from stepjax.data import utterances
from stepjax.data.utterances import Skipped


@pytest.mark.parametrize(
    "skipped, total, share, fine",
    [
        (0, 10, 0.0, True),
        (1, 10, 0.0, False),
        (1, 100, 0.01, True),
        (2, 100, 0.01, False),
        (1, 3, 0.5, True),
        (9, 10, 1.0, True),
        (10, 10, 1.0, False),
    ],
)
def test_a_corpus_may_lose_the_share_allowed_but_never_all(skipped, total, share, fine):
    left_out = [Skipped(f"{k}.wav", "silent") for k in range(skipped)]
    if fine:
        utterances.check_skipped(left_out, total, "talks", share)
        return
    with pytest.raises(ValueError) as raised:
        utterances.check_skipped(left_out, total, "talks", share)
    assert str(raised.value).startswith(f"{skipped} of {total} recordings of talks cannot be used")
    assert "the first is 0.wav (silent)" in str(raised.value)


def test_what_was_left_out_is_named_in_one_line_whatever_it_is_called():
    for written, shown in [
        ("é 一.wav", "é 一.wav"),
        ("a\nb\x1b[31m.wav", r"a\nb\x1b[31m.wav"),
        ("\ud83d\u2028", r"\ud83d\u2028"),
    ]:
        skipped = Skipped(written, "silent", f"{written}, line 3")
        assert (skipped.name, skipped.where) == (shown, f"{shown}, line 3")
        assert shown.encode()


def test_spread_reaches_over_everything_and_never_repeats():
    for total in range(12):
        for wanted in range(1, 12):
            chosen = utterances.spread(total, wanted)
            assert len(chosen) == min(total, wanted) == len(set(chosen))
            assert all(0 <= i < total for i in chosen)
            assert chosen == sorted(chosen)
    assert np.diff(utterances.spread(1000, 7)).max() <= 143
