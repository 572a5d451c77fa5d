"""A flipped bit anywhere in a checkpoint is noticed, and an older one that is whole serves."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from small_disk import KB, small_disk

from stepjax.disk import checkpoint
from stepjax.disk.checkpoint import newest, read, write
from stepjax.disk.files import Unwritable
from stepjax.disk.sealed import CHECKSUMS, Damaged, _digest, _encoded, _files

RNG = np.random.default_rng(0)
ARRAYS = {
    "params/w_DN": RNG.normal(size=(8, 24)).astype(np.float32),
    "params/half_D": RNG.normal(size=8).astype(ml_dtypes.bfloat16),
    "optimizer/count": np.array(7, np.int32),
    "exponents": np.array([3, -7], np.int32),
}
FLIPS = 100


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write(folder / "3", {name: np.zeros_like(x) for name, x in ARRAYS.items()})
    write(folder / "6", ARRAYS)
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "checkpoints")


def same(arrays, wanted=ARRAYS) -> bool:
    return arrays.keys() == wanted.keys() and all(
        (x.dtype, x.shape, x.tobytes())
        == (wanted[name].dtype, wanted[name].shape, wanted[name].tobytes())
        for name, x in arrays.items()
    )


def reseal(path: Path) -> None:
    """Gives a folder checksums that are right for what is in it now."""
    hashes = {name: _digest(path / name) for name in _files(path)}
    (path / CHECKSUMS).write_bytes(_encoded(hashes))


@contextlib.contextmanager
def flipped(path: Path, rng: np.random.Generator):
    """One bit of a file is wrong meanwhile."""
    content = path.read_bytes()
    wrong = bytearray(content)
    wrong[rng.integers(len(wrong))] ^= 1 << rng.integers(8)
    path.write_bytes(wrong)
    try:
        yield
    finally:
        path.write_bytes(content)


def test_arrays_come_back_to_the_bit(folder):
    step, arrays, damaged = newest(folder)
    assert (step, damaged) == (6, {}) and same(arrays)


def test_some_arrays_can_be_read_without_the_others(folder):
    assert read(folder / "6", "params/").keys() == {"params/w_DN", "params/half_D"}


def test_a_bit_flipped_anywhere_is_named_and_the_older_checkpoint_serves(folder):
    rng, files = (
        np.random.default_rng(1),
        [path for path in (folder / "6").rglob("*") if path.is_file()],
    )
    for at in range(FLIPS):
        path = sorted(files)[at % len(files)]
        with flipped(path, rng):
            step, arrays, damaged = newest(folder)
        assert step == 3 and not any(x.any() for x in arrays.values())
        assert path.name in damaged[6] or path.name == CHECKSUMS
    assert newest(folder)[0] == 6


# Orbax reads arrays side by side, and drops the errors of those that fail after the first.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_decoded_wrongly_is_no_checkpoint_even_if_its_files_are_as_written(folder):
    """A bit that was wrong before the files' checksums were made."""
    rng, noticed = np.random.default_rng(2), 0
    files = sorted(path for path in (folder / "6/arrays").rglob("*") if path.stat().st_size)
    files = [path for path in files if path.is_file()]
    for at in range(FLIPS):
        with flipped(files[at % len(files)], rng):
            reseal(folder / "6")
            step, arrays, damaged = newest(folder)
        assert (step == 3 and "6/arrays" in damaged[6]) or (step == 6 and same(arrays))
        noticed += step == 3
    assert noticed > FLIPS // 5  # most files of the folder repeat what others say


def test_an_array_that_is_not_what_was_saved_is_named(folder):
    facts = json.loads((folder / "6/arrays.json").read_text())
    facts["params/w_DN"]["sha256"] = facts["exponents"]["sha256"]
    (folder / "6/arrays.json").write_text(json.dumps(facts))
    reseal(folder / "6")
    assert newest(folder)[2] == {
        6: f"{folder}/6/arrays: the array params/w_DN is not what was saved"
    }


@pytest.mark.parametrize("name", ["arrays/_METADATA", "arrays.json", CHECKSUMS])
@pytest.mark.parametrize("damage", ["cut", "removed", "emptied"])
def test_a_file_that_is_cut_or_missing_is_named(folder, name, damage):
    path = folder / "6" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    step, _, damaged = newest(folder)
    what = "is missing" if damage == "removed" else "is not what was written"
    assert step == 3 and damaged == {6: f"{path} {what}"}


def test_an_empty_folder_is_no_checkpoint(folder):
    (folder / "9").mkdir()
    step, arrays, damaged = newest(folder)
    assert step == 6 and same(arrays) and damaged == {9: f"{folder}/9/{CHECKSUMS} is missing"}


def test_what_is_being_written_or_removed_is_not_looked_at(folder):
    (folder / "9.partial").mkdir()
    shutil.copytree(folder / "6", folder / "12.damaged")
    assert newest(folder)[0] == 6 and checkpoint.steps(folder) == [3, 6]


def test_where_none_is_whole_each_is_named_in_one_sentence(folder):
    for step in (3, 6):
        (folder / str(step) / "arrays.json").unlink()
    with pytest.raises(Damaged) as refusal:
        newest(folder)
    assert str(refusal.value) == (
        f"no checkpoint of {folder} is whole: {folder}/6/arrays.json is missing; "
        f"{folder}/3/arrays.json is missing; put back a copy of one, or use another --workdir."
    )


def test_where_there_is_none_that_is_said(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            FileNotFoundError, match=f"{re.escape(str(folder))} holds no checkpoint"
        ):
            newest(folder)


def test_one_that_is_removed_while_it_is_read_is_not_damaged(folder, monkeypatch):
    def read_late(path, prefix):
        if path.name == "6":
            write(folder / "9", ARRAYS)
            shutil.rmtree(path)
        return read(path, prefix)

    monkeypatch.setattr(checkpoint, "read", read_late)
    step, arrays, damaged = newest(folder)
    assert step == 9 and same(arrays) and damaged == {}


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path):
    with small_disk(tmp_path / "disk", 400 * KB) as disk:
        write(disk / "3", ARRAYS)
        with pytest.raises(
            Unwritable, match=f"^{disk}/6 cannot be written .No space left on device.: "
        ):
            write(disk / "6", {"noise": RNG.normal(size=60 * KB)})
        assert [path.name for path in disk.iterdir()] == ["3"]
        assert same(read(disk / "3"))
