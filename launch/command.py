"""How every command ends: in order, and in one sentence where the user can help it.

    0    the job was done
    1    it cannot be done as asked: one sentence on stderr says why
    2    the command line, or the config file it names, is wrong: nothing was begun
    70   a bug in StepJAX: its traceback, and the request to report it
    130  Ctrl-C or SIGTERM: everything that was open has been closed

An exception is the user's to mend if a `raise` statement of our own code made it (ValueError,
RuntimeError and what derives from them: in this way our code refuses what it is given), if the file
system refused a path, or if memory did not suffice. Everything else is a bug: an AssertionError, a
KeyError, and a ValueError from inside a library or from `int("x")` in a line of ours, which nobody
put in words.

This module imports nothing slow. A command imports what it needs within `importing`, in its `main`:
so Ctrl-C ends in order from the first moment, and a wrong command line is refused at once.
"""

import atexit
import contextlib
import dis
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import NamedTuple

DONE, FAILED, BAD_COMMAND_LINE, BUG, INTERRUPTED = 0, 1, 2, 70, 130
OURS = ("__main__", "launch", "configs", "stepjax", "parallel")  # top-level modules
OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EPIPE)  # come without a path, and are no bug either
SIGNALS = (signal.SIGINT, signal.SIGTERM)
MOMENT, GRACE = 0.05, 3  # seconds
PATIENCE = 10  # seconds in which a command may close what is open, before Ctrl-C ends it at once


class Flag(NamedTuple):
    default: str | bool
    help: str


def run(main: Callable[..., int | None], words: str = "", **flags: Flag) -> None:
    """Runs `main` with what the command line says, and ends the process with its exit code.

    Args:
      main: takes the flags by name, and returns its exit code, None for 0. `config` comes as the
        ConfigDict of the file that was named, overrides included; `workdir` as a path.
      words: the name under which `main` takes the words that belong to no flag; "" refuses them.
      flags: default and help text of every flag.
    """
    interrupt = Interrupt()
    try:
        code = ended(lambda: main(**_arguments(main, words, flags)), interrupt)
    except KeyboardInterrupt:  # while another end was being put in words
        code = INTERRUPTED
    interrupt.leaving()
    code = _flushed(code)
    if code != DONE and _others():  # a compilation cannot be waited for, nor broken off
        os._exit(code)
    sys.exit(code)


def _others() -> list[threading.Thread]:
    """Threads for which Python would wait at its end."""
    found = [thread for thread in threading.enumerate() if not thread.daemon]
    return [thread for thread in found if thread is not threading.main_thread()]


def _arguments(main: Callable, words: str, flags: dict[str, Flag]) -> dict:
    with importing():
        from launch import arguments

        try:
            return arguments.read(sys.argv, main.__globals__["__doc__"], words, flags)
        except (ValueError, OSError) as error:
            if is_the_users(error):
                raise BadCommandLine(sentence(error)) from error
            raise


def whole(flag: str, text: str, least: int = 1) -> int:
    """The number that a flag gives. Raises ValueError for other texts."""
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{flag}={text!r}: a whole number of at least {least} is wanted.")
    return int(text)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the process at once, for nothing is open yet.

    Modules that are half imported would not let an exception pass in order: some drop it, some
    print it.
    """
    before = {number: signal.signal(number, _leave) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(*_) -> None:
    os.write(sys.stderr.fileno(), b"interrupted.\n")
    atexit._run_exitfuncs()  # a library may have made a temporary folder
    os._exit(INTERRUPTED)


class BadCommandLine(Exception):
    """What was typed cannot be meant; nothing was begun."""


def ended(work: Callable[[], int | None], interrupt: "Interrupt") -> int:
    """The exit code of `work`, once what there is to say about its end is said on stderr."""
    try:
        return work() or DONE
    except KeyboardInterrupt as error:
        interrupt.error = error
        say(str(error) or "interrupted.")
        return INTERRUPTED
    except BadCommandLine as error:
        say(str(error))
        return BAD_COMMAND_LINE
    except Exception as error:
        if interrupt.asked:  # a library has made something else of the KeyboardInterrupt
            say("interrupted.")
            return INTERRUPTED
        if is_the_users(error):
            say(sentence(error))
            return FAILED
        traceback.print_exception(error)
        say("This is a bug in StepJAX; please report it with the text above.")
        return BUG


def is_the_users(error: Exception) -> bool:
    """Whether the user can mend what led to this; see the head of this file."""
    if isinstance(error, OSError) and (error.filename is not None or error.errno in OUTSIDE):
        return True
    if _lacks_memory(error):
        return True
    if not isinstance(error, (ValueError, RuntimeError, OSError)):
        return False
    *_, innermost = _steps(error.__traceback__)
    frame, instruction = innermost.tb_frame, innermost.tb_lasti
    top = frame.f_globals.get("__name__", "").split(".")[0]
    return top in OURS and frame.f_code.co_code[instruction] == dis.opmap["RAISE_VARARGS"]


def _steps(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def sentence(error: Exception) -> str:
    """
    >>> sentence(FileNotFoundError(2, "No such file or directory", "runs/a"))
    'runs/a: No such file or directory.'
    """
    if _lacks_memory(error):
        reason, *_ = str(error).splitlines() or ["no more can be had"]
        return f"there is too little memory for this: {reason}"
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where}{error.strerror}."
    return str(error) or type(error).__name__


def _lacks_memory(error: Exception) -> bool:
    """Also that of an accelerator, by the words of XLA's error."""
    return isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")


def say(words: str) -> None:
    """One line on stderr."""
    print(" ".join(words.split()), file=sys.stderr, flush=True)


class Interrupt:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, once: what closes after it is not disturbed.

    An exception gets lost if it is raised in a destructor or while a module is imported. Such a
    moment is waited out, and an exception that was dropped is raised again. Python hears no signal
    during a compilation, and nothing breaks one off: after GRACE seconds the process ends with it.
    """

    def __init__(self):
        self.asked = False
        # It holds what the main thread has compiled; XLA crashes if that goes while another thread
        # still compiles.
        self.error: BaseException | None = None
        self._since = 0.0  # when it was asked first
        for number in (*SIGNALS, signal.SIGALRM):
            signal.signal(number, self._ask)
        self._dropped, sys.unraisablehook = sys.unraisablehook, self._again
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(heard,), daemon=True).start()

    def leaving(self) -> None:
        """Nothing is open any more, and nothing disturbs the end of the process."""
        for number in (*SIGNALS, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._since = self._since or time.monotonic()
        if time.monotonic() > self._since + PATIENCE:
            os._exit(INTERRUPTED)
        if self.asked:
            return
        if _in_import(frame):
            signal.setitimer(signal.ITIMER_REAL, MOMENT)
            return
        self.asked = True
        raise KeyboardInterrupt

    def _again(self, unraisable) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self.asked = False
            signal.setitimer(signal.ITIMER_REAL, MOMENT)
        else:
            self._dropped(unraisable)

    def _watch(self, heard: int) -> None:
        """Sees every signal at once, whatever the main thread does."""
        while os.read(heard, 1):
            in_charge = signal.getsignal(signal.SIGINT) == self._ask
            time.sleep(GRACE)
            if in_charge and not self._since:
                os.write(sys.stderr.fileno(), b"interrupted.\n")
                os._exit(INTERRUPTED)


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


def _flushed(code: int) -> int:
    """The exit code, when what was printed has left the process; a closed pipe is not an error of
    the interpreter.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == DONE:
            say(f"the output could not be written: {error.strerror}.")
        return code or FAILED
    return code
