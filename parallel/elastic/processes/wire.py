"""Messages between the supervisor and the processes of a run, over TCP.

Both ends prove that they know the `authkey`; nothing is encrypted. Messages are pickled values, so
the network between the machines of a run must be one that strangers do not write to.
"""

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any, NamedTuple

from parallel.elastic.formation import Formation
from parallel.elastic.processes import rendezvous
from parallel.elastic.processes.blocks import Catalog
from parallel.elastic.processes.checksum import Check
from parallel.elastic.processes.terms import Limits
from parallel.fabric.faults import Fault

Address = tuple[str, int]
Offers = Mapping[str, tuple[int, Catalog]]  # by name: the step, and the boxes of each leaf
COMPILER, SUPERVISOR = -1, -2  # in the place of a node's number
GONE_S = 10.0  # until a machine that acknowledges nothing is taken for gone
HERE: Address = ("127.0.0.1", 0)  # a free port that other machines do not reach

# -- from a process to the supervisor


class Hello(NamedTuple):
    """A process is there, and can be reached for blocks."""

    node: int  # or COMPILER
    blocks: Address
    came: int  # a number that is greater each time this node comes
    number: int = 0  # of the generation that it is in, formed by an earlier supervisor
    formation: Formation | None = None  # the same


class Beat(NamedTuple):
    """It is alive."""


class At(NamedTuple):
    """It has come to this moment of a step."""

    step: int
    moment: str


class Firing(NamedTuple):
    """It will now act out a fault of the plan; no answer can be given."""

    fault: Fault


class Ready(NamedTuple):
    """It is in no world, and can take part in generation `number`."""

    number: int
    offers: Offers


class Restore(NamedTuple):
    """No live node holds some part of the state."""

    number: int


class Offered(NamedTuple):
    """It holds its part of the state at a step in host memory, to be saved."""

    step: int
    offers: Offers


class Vote(NamedTuple):
    """It has done what communicates in a step."""

    number: int
    step: int
    check: Check | None  # if replicas compare in this step
    alone: float  # seconds that the node took for what it last did alone


class Want(NamedTuple):
    """It needs a program that nobody has compiled."""

    name: str
    shape: tuple[int, ...]


class Note(NamedTuple):
    """For whoever observes the run."""

    what: Any


class Done(NamedTuple):
    """The work is done, with this result; or it cannot be done, for this reason."""

    result: Any
    reason: Any
    step: int  # that the state has behind it


class Compiled(NamedTuple):
    """A program is there."""

    name: str
    shape: tuple[int, ...]


# -- from the supervisor to a process


class Work(NamedTuple):
    """What there is to do in this run; comes first."""

    work: Any  # see `member.Work`
    limits: Limits
    folder: Path  # of compiled programs
    rendezvous: Path  # see `rendezvous`
    supervisor: int  # differs from that of a supervisor that is started later


class Leave(NamedTuple):
    """Leave the world; generation `number` is being formed."""

    number: int


class Form(NamedTuple):
    """Generation `number` is formed; join the world at `service`."""

    number: int  # formations that failed count, too
    formation: Formation
    nodes: tuple[int, ...]  # by rank in the world
    service: str
    peers: Mapping[int, tuple[Address, Offers]]
    plan: tuple[Fault, ...]  # what this node still has to act out


class Found(NamedTuple):
    """The state that the run goes back to; the supervisor offers all of it."""

    number: int
    peers: Mapping[int, tuple[Address, Offers]]


class Commit(NamedTuple):
    """A step counts."""

    step: int
    leave: int | None  # the number of a generation that is formed after it
    stop: str | None  # why the run ends after it


class Stop(NamedTuple):
    """No mesh can be formed: save what there is and end."""

    reason: str
    peers: Mapping[int, tuple[Address, Offers]]


class Compile(NamedTuple):
    """Compile a program."""

    name: str | None  # None: the programs of a step
    shape: tuple[int, ...]


class End(NamedTuple):
    """All have done their work."""


@contextlib.contextmanager
def messages_over(sock: socket.socket, limit_s: float | None) -> Iterator[Connection]:
    """Messages over `sock`; a read or write without progress for `limit_s` raises."""
    sock.settimeout(None)  # else the limit of Python, which the messages know nothing of
    limit = struct.pack("ll", *divmod(round((limit_s or 0) * 1e6), 10**6))  # a struct timeval
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, limit)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with Connection(os.dup(sock.fileno())) as messages:
        yield messages


class Line:
    """One end of a connection; any thread may send."""

    def __init__(self, sock: socket.socket, messages: Connection):
        self._sock, self._messages = sock, messages
        self._sending = threading.Lock()

    @property
    def host(self) -> str:
        """The address of this machine in the network that leads to the other end."""
        return str(self._sock.getsockname()[0])

    def send(self, message: Any) -> None:
        """Raises OSError if the other end is gone."""
        with self._sending:
            self._messages.send(message)

    def receive(self) -> Any:
        """The next message. Raises OSError or EOFError when the other end is gone."""
        return self._messages.recv()

    def close(self) -> None:
        """Ends the connection; a blocked `receive` returns with an error."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


class Link:
    """A process's end of its line to the supervisor of the moment. Any thread may send.

    Args:   line: its first line.   work: what it heard there first.
    """

    def __init__(self, line: Line, work: Work, authkey: bytes):
        self._line, self._authkey = line, authkey
        self._work = work
        self._guard = threading.Lock()
        self._open = contextlib.ExitStack()

    def send(self, message: Any) -> bool:
        """False if there is no supervisor now."""
        with self._guard, contextlib.suppress(OSError):
            self._line.send(message)
            return True
        return False

    def receive(self) -> Any:
        """The next message. Raises OSError or EOFError when the other end is gone."""
        return self._line.receive()

    def renew(self, say: Callable[[], Iterable[Any]], limit_s: float) -> bool:
        """Finds the supervisor that takes up the run, and tells it what it must know, before
        anything else. False if there is none within `limit_s`, or it is the one that hung up.
        """
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            run = rendezvous.read(self._work.rendezvous)
            with (
                contextlib.ExitStack() as stack,
                contextlib.suppress(OSError, EOFError, ValueError),
            ):
                if run is None:  # it has come to its end
                    return False
                line = stack.enter_context(connected(run.address, self._authkey, GONE_S / 10))
                work = line.receive()
                if work.supervisor == self._work.supervisor:
                    return False
                with self._guard:
                    for message in say():
                        line.send(message)
                    self._line, self._work, self._open = line, work, stack.pop_all()
                return True
            time.sleep(0.1)
        return False

    def close(self) -> None:
        """Ends the line, unless it is the first one, which whoever made it ends."""
        self._open.close()


@contextlib.contextmanager
def connected(address: Address, authkey: bytes, limit_s: float) -> Iterator[Line]:
    """A line to the supervisor, for which it is tried for `limit_s`.

    Raises: ConnectionError; ValueError if it has another key.
    """
    until = time.monotonic() + limit_s
    where = "{}:{}".format(*address)
    while True:
        try:
            sock = socket.create_connection(address, timeout=limit_s)
            break
        except OSError as error:
            if time.monotonic() > until:
                raise ConnectionError(
                    f"no supervisor answers at {where} within {limit_s:g} s: {error}."
                ) from error
            time.sleep(0.1)
    with sock:
        try:
            with messages_over(sock, limit_s) as messages:
                answer_challenge(messages, authkey)
                deliver_challenge(messages, authkey)
        except (AuthenticationError, OSError, EOFError) as error:
            raise ValueError(f"who answers at {where} is no supervisor with this key.") from error
        with _messages(sock) as messages:
            yield Line(sock, messages)


def _messages(sock: socket.socket) -> contextlib.AbstractContextManager[Connection]:
    """Messages that may be long in coming. A machine that no longer takes any ends them."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * GONE_S))
    return messages_over(sock, None)


class Office:
    """The supervisor's end: all messages of all processes arrive in one queue.

    A process that comes is sent `greeting` first. One whose connection ends is told of by None.

    Args:   at: the host by which the processes reach it, and a port, 0 for a free one.
    Raises: ValueError if it cannot be there.
    """

    def __init__(self, authkey: bytes, greeting: Any, at: Address = HERE, limit_s: float = GONE_S):
        self._authkey, self._greeting, self._limit_s = authkey, greeting, limit_s
        try:
            self._listener = socket.create_server(at, backlog=128)
        except OSError as error:
            host, port = at
            raise ValueError(
                f"no process can come to {host}:{port}: {error.strerror}; give an address of this "
                "machine and a port that is free."
            ) from error
        self.address: Address = self._listener.getsockname()[:2]
        self.arrived: queue.SimpleQueue[tuple[Line, Any]] = queue.SimpleQueue()
        self._lines: set[Line] = set()
        self._threads: set[threading.Thread] = set()
        self._guard = threading.Lock()
        self._closed = False
        self._start(self._accept)

    def close(self) -> None:
        """Ends all connections and waits for their threads."""
        with self._guard:
            self._closed = True
            lines, threads = set(self._lines), set(self._threads)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for line in lines:
            line.close()
        for thread in threads:
            thread.join(self._limit_s)
        self._listener.close()

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="office", daemon=True)
        with self._guard:
            self._threads.add(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                time.sleep(0.01)
                continue
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(Exception):  # whatever a stranger sends
            with messages_over(sock, self._limit_s) as messages:
                deliver_challenge(messages, self._authkey)
                answer_challenge(messages, self._authkey)
            with _messages(sock) as messages:
                line = Line(sock, messages)
                line.send(self._greeting)
                self._read(line)
        with self._guard:
            self._threads.discard(threading.current_thread())

    def _read(self, line: Line) -> None:
        with self._guard:
            if self._closed:
                return
            self._lines.add(line)
        try:
            while True:
                self.arrived.put((line, line.receive()))
        except (OSError, EOFError):
            pass
        finally:
            with self._guard:
                self._lines.discard(line)
            self.arrived.put((line, None))
