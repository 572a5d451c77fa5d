"""Worlds of processes: join one, be freed from it when a peer is lost, leave it, join the next.

A world is the JAX back end of one generation: every process brings its devices, and gloo carries
the collectives between them. JAX means a world to last as long as its processes. Here processes
outlive worlds, so this file, and no other, uses the private parts of JAX (0.10) that form them.

    supervisor                       every member
    service = Service(num_ranks)     ranks = join(service.address, rank, num_ranks, 2, limit_s=30)
                                     ... steps; a watcher calls free(address) if a peer is lost ...
                                     leave()
    service.close()

JAX's client of the service ends its process when the service goes away, because the connection
breaks on which it waits for errors. So the client talks to a relay in its own process. When the
service is gone the relay falls silent, and a world that has run a step goes on as before. JAX's
heartbeats are off for the same reason: who is alive is for the supervisor to say.
"""

import contextlib
import gc
import itertools
import os
import selectors
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax._src import distributed, xla_bridge
from jax._src.lib import _jax  # type: ignore[attr-defined]
from jax.extend import backend

NEVER = 10**7  # seconds, four months: JAX's own detection of failures must not act
PATIENCE = 2  # seconds that leaving, or one message, may wait for a process that may be gone
BLOCK = 1 << 16  # bytes that a relay passes on at once
PAIRS = 64  # that gloo waits for, and one call of `free` tries to cut off
ALL_PAIRS = 512  # that are tried in one world: each may hold an open file until it is left
GLOO = "stepjax/gloo/{}"  # key under which a rank tells where its gloo listens

Address = tuple[str, int]


class Service:
    """The coordination service of one world, hosted by a process that computes nothing in JAX.

    The members find each other through it. It can be made long before they are known, in 2 ms.

    Args:  host: where the members reach it.
    """

    def __init__(self, num_ranks: int, host: str = "127.0.0.1"):
        self._reserved = socket.socket()  # holds the port until gRPC, which shares it, has it
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        inner = _spell(self._reserved.getsockname())
        self._service: Any = _jax.get_distributed_runtime_service(
            inner,
            num_ranks,
            heartbeat_timeout=NEVER,
            cluster_register_timeout=NEVER,
            shutdown_timeout=PATIENCE,
            recoverable=True,  # who is lost takes no other member along
        )
        self._relay = _Relay(inner, host)
        self.address = self._relay.address

    def close(self) -> None:
        """Ends the service. Members that have not left do not notice."""
        if self._service is None:
            return
        self._relay.close()  # first: members must see silence, not the error of a closing service
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._service.shutdown()
        self._service = None
        self._reserved.close()


def join(
    address: str,
    rank: int,
    num_ranks: int,
    local_devices: int,
    limit_s: float,
    host: str = "127.0.0.1",
) -> list[list[jax.Device]]:
    """Makes this process a member of the world at `address`; blocks until all members are there.

    Args:    host: where the others reach this process: gloo listens there, and nowhere else.
    Returns: the devices of every rank, by rank.
    Raises:  TimeoutError if the world is not complete after `limit_s`, or `free` was called. This
             process is then in no world, and can join another one.
    """
    global _world
    assert _world is None, "leave() comes before the next join()."
    jax.config.update("jax_num_cpu_devices", local_devices)
    xla_bridge.register_backend_factory("cpu", _make_client, priority=0, fail_quietly=False)
    world = _World(address, rank, limit_s, host)
    with _guard:
        _world = world
    alarm = threading.Timer(limit_s, world.free)
    alarm.daemon = True
    alarm.start()
    try:
        return world.form(num_ranks)
    except BaseException as error:
        leave()
        if not isinstance(error, RuntimeError):
            raise
        raise TimeoutError(
            f"rank {rank} of {num_ranks} could not join the world at {address}: within "
            f"{limit_s} s the service or a member did not answer, or was given up."
        ) from error
    finally:
        alarm.cancel()


def free(address: str) -> None:
    """Makes the calls raise that wait for others in the world at `address`, within milliseconds.

    Any thread may call it, at any time. Call it again, every 50 ms or so, until the blocked call
    has raised: one that was opening connections may need it. Afterwards the world is of no use but
    to be left. Does nothing if this process is not in that world.
    """
    with _guard:
        if _world is not None and _world.address == address:
            _world.free()


def leave() -> None:
    """Leaves the world, whether the others and the service are alive or not.

    Arrays and programs of the world are lost. Does nothing in no world.
    """
    global _world
    with _guard:
        world, _world = _world, None
    if world is not None:
        world.leave()


class _Relay:
    """Passes bytes between clients and a service, on a thread of its own.

    When the service ends a connection the client's side stays open, and nothing comes any more.

    Args:  host: where it listens for clients.
    """

    def __init__(self, service: str, host: str = "127.0.0.1"):
        self._service = _parse(service)
        self._listener = socket.create_server((host, 0))
        self.address = _spell(self._listener.getsockname())
        self._wake, self._woken = socket.socketpair()
        self._other: dict[socket.socket, socket.socket] = {}
        self._muted = False
        self._silent: list[socket.socket] = []  # clients of a muted relay
        self._selector = selectors.DefaultSelector()
        for end in (self._listener, self._woken):
            self._selector.register(end, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends all connections on both sides."""
        self._wake.close()
        self._thread.join()

    def mute(self) -> None:
        """Falls silent for good, for a client that nothing else can stop from trying."""
        self._wake.send(b"m")

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    if not self._woken.recv(1):
                        return self._end()
                    self._muted = True
                if key.fileobj is self._listener:
                    self._connect()
                elif isinstance(key.fileobj, socket.socket):
                    self._pass_on(key.fileobj)

    def _connect(self) -> None:
        client = self._listener.accept()[0]
        if self._muted:
            self._silent.append(client)
            return
        try:
            service = socket.create_connection(self._service, PATIENCE)
        except OSError:
            client.close()  # it tries again
            return
        self._other |= {client: service, service: client}
        for end in (client, service):
            end.settimeout(PATIENCE)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end, selectors.EVENT_READ, end is client)

    def _pass_on(self, end: socket.socket) -> None:
        if end.fileno() < 0:
            return  # closed with its other end, a moment ago
        try:
            received = end.recv(BLOCK)
        except OSError:
            received = b""
        if received and not self._muted:
            with contextlib.suppress(OSError):
                self._other[end].sendall(received)
        if received:
            return
        is_client = self._selector.unregister(end).data
        if is_client:
            self._hang_up(end)

    def _hang_up(self, client: socket.socket) -> None:
        service = self._other.pop(client)
        del self._other[service]
        with contextlib.suppress(KeyError):  # the service had hung up before
            self._selector.unregister(service)
        client.close()
        service.close()

    def _end(self) -> None:
        self._selector.close()
        for end in (*self._other, *self._silent, self._listener, self._woken):
            end.close()


class _World:
    """The world that this process is in."""

    def __init__(self, address: str, rank: int, limit_s: float, host: str):
        self.address = address
        self.rank, self.host = rank, host
        self.limit_s = limit_s
        self._guard = threading.Lock()
        self._awake = threading.Event()  # connected, or given up
        self._connected = self._left = False
        self._relay = _Relay(address)
        self._back_end: list[Any] = []  # of JAX
        self._stood_in = 0
        self._mine: set[Address] = set()  # where the gloo of this process listens
        self._gloo: frozenset[Address] = frozenset()  # where the gloo of every rank listens
        limit = max(1, int(limit_s))
        self.client: Any = _jax.get_distributed_runtime_client(
            self._relay.address,
            rank,
            rpc_timeout=limit,
            init_timeout=NEVER,
            shutdown_timeout=PATIENCE,
            heartbeat_timeout=NEVER,
            shutdown_on_destruction=False,
            use_compression=False,
        )

    def form(self, num_ranks: int) -> list[list[jax.Device]]:
        """Connects to the others and makes the back end of all their devices."""
        self._connect()
        state: Any = distributed.global_state
        state.client, state.coordinator_address = self.client, self.address
        state.process_id, state.num_processes = self.rank, num_ranks
        before, threads = _listeners(), _threads()
        devices = jax.devices("cpu")
        self._back_end.append(devices[0].client)
        self._mine = _listeners() - before
        _yield_to_others(_threads() - threads)
        self._exchange(num_ranks)
        return [[d for d in devices if d.process_index == rank] for rank in range(num_ranks)]

    def _connect(self) -> None:
        """Waits for all members, in a thread that can be given up.

        JAX's own time limit for it ends the process, and nothing else ends the wait.
        """
        threading.Thread(target=self._wait_for_all, name="connect", daemon=True).start()
        self._awake.wait()
        with self._guard:
            if not self._connected:
                raise RuntimeError("not all members came")

    def _wait_for_all(self) -> None:
        self.client.connect()
        with self._guard:
            self._connected = True
            if self._left:
                self._hang_up()  # all came after this process had given up
        self._awake.set()

    def _exchange(self, num_ranks: int) -> None:
        """Tells the others where the gloo of this process listens, and hears where theirs do."""
        self.client.key_value_set(GLOO.format(self.rank), " ".join(map(_spell, self._mine)))
        limit_ms = int(1000 * self.limit_s)
        for rank in range(num_ranks):
            theirs = self.client.blocking_key_value_get(GLOO.format(rank), limit_ms)
            self._gloo |= set(map(_parse, theirs.split()))

    def free(self) -> None:
        """Breaks gloo's connections, and ends the waiting for new ones."""
        self._awake.set()
        with self._guard:
            if self._connected:
                self._break()
                self._hang_up()
                self._break()  # what was opened in between
                self._stand_in()

    def leave(self) -> None:
        """Drops the back end and the client."""
        self.free()
        jax.clear_caches()
        backend.clear_backends()
        state: Any = distributed.global_state
        state.client = state.coordinator_address = None
        state.process_id, state.num_processes = 0, 1
        threading.Thread(target=self._end, name="end of a world", daemon=True).start()
        with self._guard:
            self._left = True
            if not self._connected:
                self._relay.mute()

    def _end(self) -> None:
        """Waits for the threads of the back end, of which gloo may hold one for half a minute: a
        large send whose connection broke is not woken.
        """
        self._back_end.clear()
        gc.collect()  # cycles in JAX hold its threads and sockets, and its arrays

    def _break(self) -> None:
        for sock in _own_sockets():
            with sock, contextlib.suppress(OSError):  # a listener has no peer
                if {_end_of(sock.getpeername()), _end_of(sock.getsockname())} & self._gloo:
                    sock.shutdown(socket.SHUT_RDWR)

    def _stand_in(self) -> None:
        """Connects in the place of those that will not, and hangs up.

        While gloo connects, one side of each pair waits until the other calls, without a limit.
        The caller says first which of the pairs it means; they are numbered from 0, in the order in
        which this process made them. Which ones wait is not known, so each call tries some more.
        """
        numbers = range(ALL_PAIRS)[self._stood_in : self._stood_in + PAIRS]
        self._stood_in += len(numbers)
        for address, number in itertools.product(self._mine, numbers):
            with contextlib.suppress(OSError), socket.create_connection(address, PATIENCE) as pair:
                pair.sendall(struct.pack("=Q", number))

    def _hang_up(self) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self.client.shutdown()  # first: afterwards an error does not end the process
        self._relay.close()


_guard = threading.Lock()
_world: _World | None = None


def _make_client() -> Any:
    """JAX's client for CPUs. By itself, JAX lets gloo listen where this host's name leads."""
    if _world is None:
        return xla_bridge.make_cpu_client()
    gloo = _jax.make_gloo_tcp_collectives(distributed_client=_world.client, hostname=_world.host)
    return xla_bridge.make_cpu_client(gloo)


def _own_sockets() -> Iterator[socket.socket]:
    """Duplicates of all TCP sockets of this process, its libraries' included; close each."""
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed in between, or no socket
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                sock = socket.socket(fileno=os.dup(int(number)))
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    yield sock
                else:
                    sock.close()


def _listeners() -> set[Address]:
    """Where this process listens."""
    found = set()
    for sock in _own_sockets():
        with sock:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.add(_end_of(sock.getsockname()))
    return found


def _threads() -> set[int]:
    """The threads of this process that bear the name of the calling one: those of gloo inherit it,
    those of XLA have names of their own.
    """
    name, all_of_them = _name_of(threading.get_native_id()), map(int, os.listdir("/proc/self/task"))
    return {number for number in all_of_them if _name_of(number) == name}


def _name_of(thread: int) -> str:
    try:
        return Path(f"/proc/self/task/{thread}/comm").read_text()
    except OSError:  # it has ended in between
        return ""


def _yield_to_others(threads: Iterable[int]) -> None:
    """Lets gloo's own thread run last where threads wait for a core.

    It polls again and again while another thread holds the lock of a connection (`try_to_lock` in
    `Pair::handleEvents`). If that thread waits for a core, polling keeps it from one: with four
    processes on each core, steps took two to three times as long.
    """
    for thread in threads:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, 19)


def _end_of(name: tuple[Any, ...]) -> Address:
    """Host and port of a socket's name, which has more parts in IPv6."""
    return name[0], name[1]


def _spell(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _parse(address: str) -> Address:
    host, port = address.rsplit(":", 1)
    return host, int(port)
