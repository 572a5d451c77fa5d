"""One workdir, one run: a second is refused, and a run that was killed holds nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stepjax.disk.lock import Lock

ROOT = Path(__file__).parents[3]
HOLD = """
import pathlib, sys, time
from stepjax.disk.lock import Lock
with Lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


def test_a_second_run_is_refused_in_one_sentence(tmp_path):
    with (
        Lock(tmp_path),
        pytest.raises(ValueError, match=f"^{tmp_path} is in use by process {os.getpid()}, a run"),
        Lock(tmp_path),
    ):
        raise AssertionError("two runs in one folder")
    with Lock(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    child = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(child, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(ValueError, match=f"by process {process.pid}, "), Lock(tmp_path):
                pass
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert (tmp_path / "lock").exists()
    with Lock(tmp_path):
        pass


def test_a_folder_that_was_made_and_not_used_is_removed(tmp_path):
    with pytest.raises(KeyError), Lock(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()


def test_a_folder_that_was_there_or_was_used_stays_without_the_lock(tmp_path):
    with Lock(tmp_path):
        pass
    with Lock(tmp_path / "new"):
        (tmp_path / "new/file").write_text("")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "new"]


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """The process before this one ended between the opening of its file and the locking of it."""
    opened, open_file = [], os.open

    def open_before_it_is_removed(path, *how):
        descriptor = open_file(path, *how)
        opened.append(path)
        if len(opened) == 1:
            os.unlink(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_before_it_is_removed)
    with Lock(tmp_path):
        assert len(opened) == 2 and (tmp_path / "lock").exists()
