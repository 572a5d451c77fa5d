"""Nothing escapes from behind the fence, and what is left there is named."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from stepjax.drill import fence

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def say_and_end() -> None:
    print("all is well")


def raise_an_error() -> None:
    raise OSError("the disk is gone")


def sleep() -> None:
    subprocess.Popen(SLEEP, start_new_session=True)
    time.sleep(600)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_process() -> None:
    subprocess.Popen(SLEEP, start_new_session=True)


def leave_a_file() -> None:
    Path(tempfile.mkdtemp(prefix="here")).joinpath("a").write_text("b")


def leave_a_port(note: Path) -> None:
    """To a child that has another output."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = subprocess.Popen(
            SLEEP, pass_fds=[server.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        note.write_text(str(child.pid))
        time.sleep(1.5 * fence.LOOK_S)


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        (say_and_end, 0, "all is well"),
        (raise_an_error, 1, "OSError: the disk is gone"),
        (die, -9, ""),
    ],
)
def test_how_it_ended_is_told(function, code, words, tmp_path):
    ended = fence.run(function, (), tmp_path / "in", limit_s=60)
    assert (ended.code, ended.left_behind) == (code, ())
    assert fence.last_words(tmp_path / "in") == words


def test_at_its_limit_all_of_it_is_ended(tmp_path):
    ended = fence.run(sleep, (), tmp_path / "in", limit_s=3)
    assert ended.code is None and 3 <= ended.seconds < 30
    assert fence.processes_of(tmp_path / "in") == []


@pytest.mark.parametrize(
    ("function", "what"), [(leave_a_process, "process "), (leave_a_file, "temporary here")]
)
def test_what_is_left_behind_is_named_and_removed(function, what, tmp_path, monkeypatch):
    monkeypatch.setattr(fence, "MOMENT_S", 1.0)
    ended = fence.run(function, (), tmp_path / "in", limit_s=60)
    assert ended.code == 0
    (left,) = ended.left_behind
    assert left.startswith(what)
    assert fence.processes_of(tmp_path / "in") == []
    assert not (tmp_path / "in" / fence.TEMPORARY).exists()


def test_a_port_that_still_listens_is_named(tmp_path, monkeypatch):
    """Also where the process that has it now is none of ours any more."""
    monkeypatch.setattr(fence, "MOMENT_S", 1.0)
    ended = fence.run(leave_a_port, (tmp_path / "pid",), tmp_path / "in", limit_s=60)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    (left,) = ended.left_behind
    assert left.startswith("port ")
