"""The processes of a run as its supervisor sees them: started, missed, ended, and why."""

import dataclasses
import signal
import time
from collections.abc import Callable, Collection

from parallel.elastic.processes.terms import UNKNOWN, Process


@dataclasses.dataclass
class _Employed:
    process: Process
    since: float
    limit_s: float  # until it is there


class Staff:
    """Processes by number.

    Args:
      start: starts the process of a node, or of wire.COMPILER.
      last_word: what it has written last.
    """

    def __init__(self, start: Callable[[int], Process], last_word: Callable[[int], str]):
        self._start, self._last_word = start, last_word
        self._employed: dict[int, _Employed] = {}
        self._killed: dict[int, str] = {}  # and why

    @property
    def numbers(self) -> Collection[int]:
        """Of those that were started, and whose end has not been heard of."""
        return self._employed.keys()

    @property
    def ending(self) -> Collection[int]:
        """Of those that were killed, and whose end has not been heard of."""
        return self._killed.keys()

    def start(self, number: int, limit_s: float) -> None:
        """Starts a process, which is to be there within `limit_s`."""
        self.take_over(number, self._start(number), limit_s)

    def take_over(self, number: int, process: Process, limit_s: float) -> None:
        """Goes on with a process that runs already."""
        self._employed[number] = _Employed(process, time.monotonic(), limit_s)

    def drop(self, number: int) -> None:
        """Its end has been heard of, and it does not come back."""
        del self._employed[number]

    def kill(self, number: int, why: str) -> bool:
        """Ends a process; False if it was ended before, which has not been heard of yet."""
        if number in self._killed:
            return False
        self._killed[number] = why
        self._employed[number].process.kill()
        return True

    def missing(self, there: Collection[int]) -> list[int]:
        """Those that are not there, because they have ended or have taken too long."""
        now = time.monotonic()
        return [
            number
            for number, one in self._employed.items()
            if number not in there
            and (one.process.exitcode is not None or now - one.since >= one.limit_s)
        ]

    def why(self, number: int) -> str:
        """The end of a process in words; it is ended now, if it has not."""
        if number in self._killed:
            return self._killed.pop(number)
        process = self._employed[number].process
        process.join(1.0)
        code = process.exitcode
        if code is None:
            process.kill()
            return "its connection ended"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        how = "" if code == UNKNOWN else f" with exit code {code}"
        word = self._last_word(number)
        return f"its process ended{how}" + (f": {word}" if word else "")

    def join(self, numbers: Collection[int], limit_s: float) -> None:
        """Waits until these have ended, for `limit_s` in all."""
        until = time.monotonic() + limit_s
        for number in numbers:
            if number in self._employed:
                self._employed[number].process.join(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Ends all that still run."""
        for one in self._employed.values():
            if one.process.exitcode is None:
                one.process.kill()
