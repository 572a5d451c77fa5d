"""A folder appears whole, or not at all, and knows when it was damaged."""

import os
from pathlib import Path

import pytest
from small_disk import KB, small_disk

from stepjax.disk import sealed as sealing
from stepjax.disk.files import Unwritable
from stepjax.disk.sealed import Damaged, digest, remove, sealed, verify


def make(path: Path, inside: str = "two") -> Path:
    with sealed(path) as folder:
        (folder / "a").write_text("one")
        (folder / "deep").mkdir()
        (folder / "deep" / "b").write_text(inside)
    return path


def test_a_whole_folder_is_verified_and_has_a_hash_of_its_content(tmp_path):
    first, same, other = (
        make(tmp_path / name, text) for name, text in (("x", "2"), ("y", "2"), ("z", "3"))
    )
    verify(first)
    assert digest(first) == digest(same) != digest(other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y", "z"]


@pytest.mark.parametrize("name", ["a", "deep/b", "checksums.json"])
def test_each_file_that_is_missing_or_changed_is_named(tmp_path, name):
    path = make(tmp_path / "x") / name
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content + b" ", bytes([content[0] ^ 1]) + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(Damaged, match="is not what was written"):
            verify(tmp_path / "x")
    path.unlink()
    with pytest.raises(Damaged, match=f"{path} is missing"):
        verify(tmp_path / "x")


def test_a_folder_that_is_missing_or_empty_is_damaged(tmp_path):
    with pytest.raises(Damaged, match=f"{tmp_path}/x is missing"):
        verify(tmp_path / "x")
    (tmp_path / "x").mkdir()
    with pytest.raises(Damaged, match=f"{tmp_path}/x/checksums.json is missing"):
        verify(tmp_path / "x")


def test_everything_is_on_the_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        sealing, "sync", lambda path: synced.append((path, (tmp_path / "x").exists()))
    )
    make(tmp_path / "x")
    *before, last = synced
    names = {os.path.relpath(path, tmp_path / "x.partial") for path, _ in before}
    assert names == {"a", "deep/b", "deep", "checksums.json", "."}
    assert not any(named for _, named in before) and last == (tmp_path, True)


def test_what_goes_wrong_inside_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), sealed(tmp_path / "x") as folder:
        (folder / "a").write_text("one")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_is_written_anew(tmp_path):
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial/old").write_text("half")
    make(tmp_path / "x")
    verify(tmp_path / "x")
    assert not (tmp_path / "x/old").exists()


def test_a_full_disk_leaves_nothing_and_names_the_folder(tmp_path):
    with small_disk(tmp_path / "disk", 64 * KB) as disk:
        make(disk / "x")
        with pytest.raises(
            Unwritable, match=f"{disk}/y cannot be written .No space left on device."
        ):
            make(disk / "y", inside="2" * 128 * KB)
        assert [path.name for path in disk.iterdir()] == ["x"]
        verify(disk / "x")


def test_a_folder_that_is_removed_loses_its_name_first(tmp_path, monkeypatch):
    make(tmp_path / "x")
    rmtree = sealing.shutil.rmtree

    def watched(path, **how):
        assert not (tmp_path / "x").exists() or path.name == "x.partial"
        rmtree(path, **how)

    monkeypatch.setattr(sealing.shutil, "rmtree", watched)
    remove(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
