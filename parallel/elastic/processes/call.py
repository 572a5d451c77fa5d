"""A call that can be given up."""

import threading
from collections.abc import Callable
from typing import Any

import jax


class Call:
    """A call of a program in a thread of its own, which can be given up.

    Gloo does not wake a large send whose connection has broken (`Pair::signalException` leaves out
    the unbound buffers in `tx_`): it waits until XLA's limit for collectives has passed. Until then
    the thread keeps alive what it computes with, and the back end of its world.
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], heard: threading.Condition):
        self.ended = False
        self._found: Any = None
        self._error: Exception | None = None
        threading.Thread(target=self._run, args=(fn, args, heard), daemon=True).start()

    def results(self) -> Any:
        """What the program returned, or raised."""
        if self._error is not None:
            raise self._error
        return self._found

    def _run(
        self, fn: Callable[..., Any], args: tuple[Any, ...], heard: threading.Condition
    ) -> None:
        try:
            self._found = jax.block_until_ready(fn(*args))
        except Exception as error:
            self._error = error.with_traceback(None)  # its frames would keep arrays alive
        del fn, args
        with heard:
            self.ended = True
            heard.notify_all()
