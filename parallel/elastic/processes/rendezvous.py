"""The file by which the nodes of a run find a supervisor that was started again, and it finds them.

It lies in the folder of the run, for its owner only, from the first process to the last: where the
supervisor listens, the key of the run, what work it does, and the process of every node.
"""

import contextlib
import json
import os
import select
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from parallel.elastic.processes.terms import UNKNOWN, Elsewhere, Process

NAME = ".run"


class Run(NamedTuple):
    """A run that has not come to its end."""

    address: tuple[str, int]
    authkey: bytes
    work: str  # equal for those that do the same work
    processes: Mapping[int, tuple[int | None, str]]  # of each node: `pid`, and when that began


def write(path: Path, run: Run) -> None:
    """Replaces what was there."""
    partial = path.with_suffix(".partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(run._asdict() | {"authkey": run.authkey.hex()}, file)
    partial.rename(path)


def read(path: Path) -> Run | None:
    """What is there, if it is whole."""
    try:
        found = json.loads(path.read_text())
        (host, port), processes = found["address"], found["processes"].items()
        return Run(
            (host, port),
            bytes.fromhex(found["authkey"]),
            found["work"],
            {int(number): (pid, began) for number, (pid, began) in processes},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def began(pid: int | None) -> str:
    """When a process began, in ticks of this machine; "" if it is none of this machine."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def alive(run: Run) -> dict[int, Process]:
    """The processes of a run's nodes that are still there, or may be, on another machine."""
    found: dict[int, Process] = {}
    for number, (pid, since) in run.processes.items():
        with contextlib.suppress(OSError):
            one = Orphan(pid) if pid else Elsewhere()
            if began(pid) == since:
                found[number] = one
    return found


class Orphan:
    """A process that another one has started: a `terms.Process`. Raises OSError if it is gone."""

    def __init__(self, pid: int):
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._handle)

    @property
    def exitcode(self) -> int | None:
        """See Process: only its parent hears the code."""
        return UNKNOWN if self._ended(0) else None

    def kill(self) -> None:
        """See Process."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """See Process."""
        self._ended(timeout)

    def _ended(self, timeout: float | None) -> bool:
        end = select.poll()
        end.register(self._handle, select.POLLIN)
        return bool(end.poll(None if timeout is None else 1000 * timeout))
