"""Nodes that somebody else starts: they come when they can, and come again when they have ended."""

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import counting
import pytest
from threads import left_behind

from parallel.elastic.processes import Limits, Meeting, RunFailed

ROOT = Path(__file__).parents[4]
NODE = """\
from parallel.elastic.processes import Meeting, take_part
take_part({node}, Meeting(("127.0.0.1", {port}), b"a key"), 60)
"""


@pytest.fixture
def meeting():
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield Meeting(("127.0.0.1", port), b"a key")
    assert left_behind(before) == []


@pytest.fixture
def come(meeting, tmp_path):
    """Starts nodes, each again as often as it fails, or once; its exit codes are in a file."""
    loops = []

    def begin(*nodes: int, once: bool = False) -> None:
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}:{ROOT}/tests"}
        for node in nodes:
            program = NODE.format(node=node, port=meeting.address[1])
            last = "break; " if once else ""
            told = f"echo $? >> codes-{node}; {last}"
            loop = f"until {sys.executable} -c '{program}'; do {told}kill -0 $PPID || exit; done"
            loops.append(
                subprocess.Popen(
                    ["bash", "-c", loop],
                    cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )  # fmt: skip

    yield begin
    for loop in loops:
        if loop.poll() is None:
            os.killpg(loop.pid, signal.SIGKILL)
        loop.wait(timeout=10)


def codes(folder: Path, node: int) -> list[int]:
    path = folder / f"codes-{node}"
    return list(map(int, path.read_text().split())) if path.exists() else []


def wait_for(nodes: Iterable[int], folder: Path) -> None:
    """Until all of them have failed, or long enough."""
    until = time.monotonic() + 30
    while not all(codes(folder, node) for node in nodes) and time.monotonic() < until:
        time.sleep(0.1)


def test_nodes_come_from_elsewhere_and_come_again(meeting, come, tmp_path):
    come(*range(counting.NODES))
    notes = counting.on_processes("", tmp_path, [(1, 3, "crash")], meeting=meeting)
    assert notes.sums == counting.expected()
    assert notes.recoveries[0] == (3, [1], [], "replica", 0)
    assert notes.causes == [(1, "its connection ended")]
    assert codes(tmp_path, 1)[0] == 128 + signal.SIGSEGV


@pytest.mark.slow
def test_a_process_that_stands_still_is_cut_off_and_ends_by_itself(meeting, come, tmp_path):
    come(*range(counting.NODES))
    notes = counting.on_processes("", tmp_path, [(1, 3, "freeze")], meeting=meeting)
    assert notes.sums == counting.expected()
    ((node, cause),) = notes.causes
    assert node == 1 and re.fullmatch("it was silent for [0-9]+ s", cause)
    until = time.monotonic() + 60
    while 128 + signal.SIGALRM not in codes(tmp_path, 1):
        assert time.monotonic() < until, "it still stands"
        time.sleep(0.1)


def test_a_node_that_nobody_waits_for_is_sent_away(meeting, come, tmp_path):
    """One of a number that the run does not have, for which the others have waited to begin."""
    stranger = counting.NODES

    def begin():
        wait_for([stranger], tmp_path)
        come(*range(counting.NODES))

    come(stranger)
    started = threading.Thread(target=begin).start
    notes = counting.on_processes("", tmp_path, meeting=meeting, started=lambda _: started())
    assert notes.sums == counting.expected()
    assert codes(tmp_path, stranger)[0] == 1


@pytest.mark.slow
def test_nodes_may_come_long_after_the_supervisor(meeting, come, tmp_path, monkeypatch):
    """Longer after it than one may take that has come, until it is ready."""
    monkeypatch.setattr(counting, "Limits", functools.partial(Limits, start=5.0))
    late = threading.Timer(7.0, come, range(counting.NODES))
    late.start()
    assert counting.on_processes("", tmp_path, meeting=meeting).sums == counting.expected()


def test_a_run_that_waits_for_nodes_can_be_stopped(meeting, come, tmp_path):
    def started(supervisor):
        threading.Timer(1.0, lambda: supervisor.stop("enough")).start()

    with pytest.raises(RunFailed, match="enough"):
        counting.on_processes("", tmp_path, meeting=meeting, started=started)


def test_a_run_that_has_begun_and_waits_for_nodes_can_be_stopped(meeting, come, tmp_path):
    """The one that is left saves what it has."""
    lost = [0, 1, 3, 4]

    def stop(supervisor):
        wait_for(lost, tmp_path)
        supervisor.stop("enough")

    def started(supervisor):
        threading.Thread(target=stop, args=[supervisor]).start()

    come(*range(counting.NODES), once=True)
    deeds = [(node, 3, "crash") for node in lost]
    with pytest.raises(RunFailed, match="no ring can be formed of the nodes that are left, .2."):
        counting.on_processes("", tmp_path, deeds, meeting=meeting, started=started)
