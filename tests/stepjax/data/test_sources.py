"""What all corpora share: random access, refusals, random numbers by name, and what is kept on
disk.
"""

import numpy as np
import pytest
from ml_collections import ConfigDict

from stepjax.data import cache, draws, sources, utterances
from stepjax.data.utterances import Skipped


@pytest.mark.parametrize("kind, split, message", [
    ("radio", "train", "kind='radio' is no kind of corpus: choose spoken, manifest, fsdd"),
    ("spoken", "test", "split='test' does not exist: choose train or heldout"),
    ("manifest", "test", "split='test' does not exist"),
    ("fsdd", "test", "split='test' does not exist"),
])  # fmt: skip
def test_what_does_not_exist_is_refused(kind, split, message):
    with pytest.raises(ValueError, match=message):
        sources.open_source(ConfigDict({"kind": kind}), split)


@pytest.mark.parametrize("skipped, total, share, fine", [
    (0, 10, 0.0, True), (1, 10, 0.0, False), (1, 100, 0.01, True), (2, 100, 0.01, False), (1, 3, 0.5, True),
    (9, 10, 1.0, True), (10, 10, 1.0, False)])  # fmt: skip
def test_a_corpus_may_lose_the_share_allowed_but_never_all(skipped, total, share, fine):
    left_out = [Skipped(f"{k}.wav", "silent") for k in range(skipped)]
    if fine:
        utterances.check_skipped(left_out, total, "talks", share)
        return
    with pytest.raises(ValueError) as raised:
        utterances.check_skipped(left_out, total, "talks", share)
    assert str(raised.value).startswith(f"{skipped} of {total} recordings of talks cannot be used")
    assert "the first is 0.wav (silent)" in str(raised.value)


def test_spread_reaches_over_everything_and_never_repeats():
    for total in range(12):
        for wanted in range(1, 12):
            chosen = utterances.spread(total, wanted)
            assert len(chosen) == min(total, wanted) == len(set(chosen))
            assert all(0 <= i < total for i in chosen)
            assert chosen == sorted(chosen)
    assert np.diff(utterances.spread(1000, 7)).max() <= 143


def test_a_draw_depends_on_its_name_alone():
    first = draws.generator(3, "train", 5).random(4)
    draws.generator(3, "train", 6).random(100)
    np.testing.assert_array_equal(draws.generator(3, "train", 5).random(4), first)
    others = [draws.generator(*words).random(4) for words in
              [(4, "train", 5), (3, "heldout", 5), (3, "train", 6), (3, "train", "5x")]]  # fmt: skip
    assert not any(np.array_equal(first, other) for other in others)


def test_draws_are_those_of_last_year():
    assert draws.generator(0, "train", np.int64(7)).integers(1_000_000) == 201_568
    assert draws.share("a.wav") == pytest.approx(0.27590413261605007)


def test_shares_are_even():
    shares = np.array([draws.share(f"{k}.wav") for k in range(4_000)])
    assert 0 <= shares.min() < 0.01 < 0.99 < shares.max() < 1
    counts, _ = np.histogram(shares, bins=10, range=(0, 1))
    assert abs(counts - 400).max() < 90  # more than four standard deviations


def test_what_is_kept_is_made_once(tmp_path):
    made = []
    path = cache.path(str(tmp_path / "new" / "folder"), "thing", 1, "two", [3.0])
    for _ in range(3):
        assert cache.kept(path, lambda: made.append(1) or b"content") == b"content"
    assert made == [1]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "damage", [b"", b"short", b"x" * 100, None], ids=["empty", "cut", "other", "one bit"]
)
def test_what_is_damaged_is_made_again(tmp_path, damage):
    path = cache.path(str(tmp_path), "thing")
    cache.kept(path, lambda: b"content")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    assert cache.kept(path, lambda: b"content") == b"content"
    assert path.read_bytes() == whole


def test_other_facts_lie_elsewhere(tmp_path):
    facts = [(), (1,), (1, 2), ("1",), ([1],), ({"a": 1},), (None,)]
    assert len({cache.path(str(tmp_path), "thing", *some) for some in facts}) == len(facts)


def test_a_failure_leaves_nothing_behind(tmp_path):
    path = cache.path(str(tmp_path), "thing")
    with pytest.raises(ZeroDivisionError):
        cache.kept(path, lambda: 1 // 0)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    path = cache.path(str(tmp_path / "file"), "thing")
    with pytest.raises(ValueError, match=f"{path} cannot be written .*: name another cache folder"):
        cache.kept(path, lambda: b"")
