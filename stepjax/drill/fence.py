"""A function in a process of its own, behind a fence: it has one folder, and a limit in time.

What belongs to it is known by its output, which all of its children inherit: every process whose
output goes to a file in the folder. So nothing escapes, not even a process whose parent was killed.
Reads /proc, which is Linux's.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

LOG, TEMPORARY = "output.log", "tmp"
LOOK_S = 2.0
QUICK_S = 0.05
MOMENT_S = 10.0  # in which what a process has started may end after it
LISTENING = "0A"  # a state in /proc/net/tcp


class Ended(NamedTuple):
    """How it ended."""

    seconds: float
    code: int | None  # of its exit, negative for a signal; None if it was ended at its limit
    left_behind: tuple[str, ...]  # what was still there afterwards; it is not any more


def run(
    function: Callable[..., Any],
    args: Sequence[Any],
    folder: Path,
    limit_s: float,
    kill: Callable[[], bool] | None = None,
) -> Ended:
    """Calls `function(*args)` and waits for its end; then nothing of it is there any more.

    Its output goes to `folder`/output.log. It must be known by name to the module that it is in.

    Args:  kill: once it is true, the process is killed, without its children, and started again.
    """
    folder.mkdir(parents=True)
    (folder / TEMPORARY).mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    began, sockets = time.monotonic(), set()
    process = context.Process(target=_inside, args=(function, args, folder))
    process.start()
    try:
        while process.is_alive() and time.monotonic() < began + limit_s:
            process.join(LOOK_S if kill is None else QUICK_S)
            if kill and kill():
                kill = None
                process.kill()
                process.join()
                process = context.Process(target=_inside, args=(function, args, folder))
                process.start()
            sockets |= _sockets(processes_of(folder))
        seconds, code = time.monotonic() - began, process.exitcode
        left = _left_behind(folder, sockets) if code is not None else ()
    finally:
        process.kill()  # it may not have come to its output yet
        _end_all(folder)
        process.join()
        shutil.rmtree(folder / TEMPORARY)
    return Ended(seconds, code, left)


def _inside(function: Callable[..., Any], args: Sequence[Any], folder: Path) -> None:
    os.setsid()  # Ctrl-C is for the drill
    os.environ["TMPDIR"] = tempfile.tempdir = str((folder / TEMPORARY).absolute())
    with (folder / LOG).open("a") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    function(*args)


def processes_of(folder: Path) -> list[int]:
    """The processes whose output goes to a file in `folder`."""
    inside = f"{folder.resolve()}{os.sep}"
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and any(out.startswith(inside) for out in _outputs(entry))
    ]


def last_words(folder: Path) -> str:
    """The last line that it has written."""
    log = folder / LOG
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _outputs(process: Path) -> list[str]:
    return [link for link in map(_link, (process / "fd/1", process / "fd/2")) if link]


def _link(path: Path) -> str:
    """Where it leads; nowhere if it is gone, or another user's."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _sockets(processes: Collection[int]) -> set[str]:
    """The sockets that they have open, by the system's number."""
    found = set()
    for process in processes:
        try:
            descriptors = list(Path(f"/proc/{process}/fd").iterdir())
        except OSError:
            continue
        links = map(_link, descriptors)
        found |= {link[8:-1] for link in links if link.startswith("socket:[")}
    return found


def _listening(sockets: set[str]) -> list[str]:
    """The ports at which one of these sockets listens."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            found += [
                f"port {int(row[1].rpartition(':')[2], 16)}"
                for row in rows
                if row[3] == LISTENING and row[9] in sockets
            ]
    return found


def _left_behind(folder: Path, sockets: set[str]) -> tuple[str, ...]:
    """Processes, ports and temporary files that do not go by themselves."""
    until = time.monotonic() + MOMENT_S
    while True:
        left = [f"process {number}: {_command(number)}" for number in processes_of(folder)]
        left += _listening(sockets)
        left += [f"temporary {path.name}" for path in (folder / TEMPORARY).iterdir()]
        if not left or time.monotonic() > until:
            return tuple(left)
        time.sleep(LOOK_S / 10)


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return "gone"


def _end_all(folder: Path) -> None:
    """Kills all of it; a process may start another meanwhile."""
    while found := processes_of(folder):
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(LOOK_S / 10)
