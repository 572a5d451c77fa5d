"""What is kept on disk."""

import hashlib
import pwd

import pytest

from stepjax.data import cache


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
    with pytest.raises(ValueError, match=f"{path} cannot be written .*name another folder"):
        cache.kept(path, lambda: b"")


def test_what_was_kept_is_recalled_until_it_is_damaged(tmp_path):
    path = cache.path(str(tmp_path), "thing")
    assert cache.recalled(path) is None
    cache.keep(path, b"one")
    cache.keep(path, b"two")
    assert cache.recalled(path) == b"two"
    path.write_bytes(b"twa" + path.read_bytes()[3:])
    assert cache.recalled(path) is None


def test_a_digest_is_the_size_and_the_hash_of_the_content(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"hello" * 7)
    expected = f"35 {hashlib.sha256(b'hello' * 7).hexdigest()}"
    assert cache.digest(tmp_path / "a") == expected
    monkeypatch.setattr(cache, "BLOCK", 3)
    assert cache.digest(tmp_path / "a") == expected


def test_without_a_home_the_default_folder_is_named(monkeypatch):
    def nobody(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(ValueError, match="^cache is not set, and its default, ~/.cache/step"):
        cache.path("", "thing")
