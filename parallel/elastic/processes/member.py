"""What runs in every process of a run: a node that computes, or the process that compiles.

launch(work, rings, plan, folder, observer)      in the process that was started by hand
    work(member)                                 in each of the others: it makes the job, and
        member.run(job, rings, body)             runs `body(cluster)` if this is a node

The others are started here by `launch`; or, given a `Meeting`, nodes come to it from other machines
by `take_part`, and only the compiling process is started here.
"""

import contextlib
import dataclasses
import gc
import hashlib
import math
import multiprocessing
import os
import pickle
import queue
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.extend import backend

from parallel.elastic.cluster import GoBack
from parallel.elastic.formation import NotEnoughNodes, Rings
from parallel.elastic.processes import rendezvous, wire
from parallel.elastic.processes.archive import Archive
from parallel.elastic.processes.exchange import BlockServer
from parallel.elastic.processes.node import ProcessCluster, RunOver
from parallel.elastic.processes.staff import Staff
from parallel.elastic.processes.supervisor import Supervisor
from parallel.elastic.processes.terms import Elsewhere, Limits, Observer, Process
from parallel.elastic.runtime import Job
from parallel.fabric.faults import FaultPlan
from parallel.spmd.executables import Kept

USUAL = Limits()
LIMIT = "--xla_cpu_collective_timeout_seconds=30"  # of what was given up, see node._Call
PROGRAMS, LOGS = ".programs", "logs"  # folders
BEAT_S = 0.25


class Ended(NamedTuple):
    """How the work of a node ended: with a result, or for a reason that all nodes have."""

    result: Any
    reason: Any = None


class Member:
    """This process, in `work`."""

    def __init__(
        self,
        hello: wire.Hello,
        link: wire.Link,
        server: BlockServer,
        folder: Path,
        limits: Limits,
    ):
        self.number = hello.node
        self._hello, self._link, self._server = hello, link, server
        self._folder, self._limits = folder, limits

    def run(
        self,
        job: Job,
        rings: Rings,
        body: Callable[[ProcessCluster], Ended],
        ahead: Sequence[str] = (),
    ) -> None:
        """Does this process's part of a job, until the supervisor says that all is done.

        Args:  ahead: the programs that a smaller mesh needs at once.
        """
        backend.clear_backends()  # what `work` has made is not that of any world
        if self.number == wire.COMPILER:
            _compile(self._link, job, rings, self._folder, ahead)
            return
        gc.freeze()  # leaving a world collects garbage: of what comes from here on
        cluster = ProcessCluster(
            self._hello,
            self._link,
            self._server,
            rings,
            job.shapes,
            self._folder,
            self._limits,
        )
        with contextlib.suppress(RunOver):
            try:
                ended = body(cluster)
            except NotEnoughNodes as error:
                ended = Ended(None, str(error))
            cluster.done(*ended)


Work = Callable[[Member], None]  # can be pickled


class Meeting(NamedTuple):
    """Where nodes find their supervisor, and the key by which they know each other."""

    address: wire.Address
    authkey: bytes


def launch(
    work: Work,
    rings: Rings,
    plan: FaultPlan,
    folder: Path,
    shapes: Any,
    go_back: GoBack,
    observer: Observer | None = None,
    limits: Limits = USUAL,
    preload: Sequence[str] = (),
    started: Callable[[Supervisor], None] = lambda supervisor: None,
    meeting: Meeting | None = None,
    programs: Path | None = None,
) -> Any:
    """Runs `work` in a process for each node of `rings` until it is done.

    Args:
      folder: for logs; all machines of the run share it.
      shapes: of the state's tree.
      go_back: where the run begins, and goes back to where no live node holds its state.
      preload: modules that are imported once for all processes.
      started: is given the supervisor.
      meeting: an address of this machine, at which nodes come from others. They are waited for, as
        long as it takes. Without it, all processes are started here, and nothing can be reached
        from outside.
      programs: a folder of compiled programs that the caller keeps, for several runs of equal ones;
        without it they lie in `folder` while it runs.
    Returns: the result of the first node.
    Raises:  RunFailed; ValueError if `meeting` cannot be here.
    """
    own, logs, at = folder / PROGRAMS, folder / LOGS, folder.absolute() / rendezvous.NAME
    mark = hashlib.sha256(pickle.dumps(work)).hexdigest()
    earlier = rendezvous.read(at)
    found = rendezvous.alive(earlier) if earlier else {}
    if earlier and earlier.work != mark:  # the same folder, with other settings
        _end(found.values(), limits.end)
        found = {}
    if not found:
        shutil.rmtree(own, ignore_errors=True)
    stored = programs or own
    for path in (stored, logs):
        path.mkdir(parents=True, exist_ok=True)
    if meeting:
        limits = dataclasses.replace(limits, come=math.inf)
    key = earlier.authkey if earlier and found else secrets.token_bytes(32)
    address, authkey = meeting or Meeting(wire.HERE, key)
    greeting = wire.Work(work, limits, stored.absolute(), at, time.time_ns())
    office = wire.Office(authkey, greeting, address)
    run = rendezvous.Run(office.address, authkey, mark, {})
    starter = _Starter(at, run, logs, preload, forks_nodes=meeting is None)
    for number, process in found.items():
        starter.know(number, process)
    with BlockServer(authkey, office.address[0]) as server:
        supervisor = Supervisor(
            rings,
            office,
            Staff(starter.start, starter.last_word),
            Archive(server, shapes, go_back),
            observer or Observer(),
            plan,
            limits,
            found,
        )
        try:
            started(supervisor)
            return supervisor.run()
        finally:
            at.unlink(missing_ok=True)
            supervisor.close()
            shutil.rmtree(own, ignore_errors=True)


class _Starter:
    """Starts processes here, or expects them from elsewhere, and keeps the rendezvous.

    Args:
      at: the file of the rendezvous.   run: what it holds.
      logs: a folder.   preload: modules that are imported once for all processes.
      forks_nodes: or else they come from other machines.
    """

    def __init__(
        self,
        at: Path,
        run: rendezvous.Run,
        logs: Path,
        preload: Sequence[str],
        forks_nodes: bool,
    ):
        self._at, self._run, self._logs, self._forks_nodes = at, run, logs, forks_nodes
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *preload])

    def start(self, number: int) -> Process:
        """The process of a node, or of wire.COMPILER."""
        if number == wire.COMPILER:
            return self._fork(number)
        process = self._fork(number) if self._forks_nodes else Elsewhere()
        self.know(number, process)
        return process

    def know(self, number: int, process: Process) -> None:
        """A supervisor that is started later is to find this process."""
        processes = {**self._run.processes, number: (process.pid, rendezvous.began(process.pid))}
        self._run = self._run._replace(processes=processes)
        rendezvous.write(self._at, self._run)

    def last_word(self, number: int) -> str:
        """The last line that a process has written."""
        log = self._log_of(number)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return lines[-1].strip() if lines else ""

    def _fork(self, number: int) -> Process:
        arguments = number, Meeting(self._run.address, self._run.authkey), self._log_of(number)
        process = self._context.Process(target=_main, args=arguments, daemon=True)
        process.start()
        return process

    def _log_of(self, number: int) -> Path:
        name = "compiler.log" if number == wire.COMPILER else f"node-{number}.log"
        return self._logs / name


def _end(processes: Iterable[Process], limit_s: float) -> None:
    for process in processes:
        process.kill()
        process.join(limit_s)


def _main(number: int, meeting: Meeting, log: Path) -> None:
    os.setsid()  # Ctrl-C is for the supervisor
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with log.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    take_part(number, meeting)


def take_part(number: int, meeting: Meeting, limit_s: float = wire.GONE_S) -> None:
    """Is node `number` of the run that is supervised at `meeting`, until that ends.

    It must be called in the main thread, before JAX has made its devices. Others reach this node at
    the address by which this machine reaches the supervisor. Where the supervisor does not hear it
    any more, nothing is left to do here, and nobody to kill it: then an alarm ends the process.

    Args:   limit_s: how long to wait for a supervisor.
    Raises: what `wire.connected` and the work raise; SupervisorLost.
    """
    os.environ["XLA_FLAGS"] = f"{LIMIT} {os.environ.get('XLA_FLAGS', '')}".strip()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with (
        wire.connected(*meeting, limit_s) as line,
        BlockServer(meeting.authkey, line.host) as server,
    ):
        greeting = line.receive()
        link = wire.Link(line, greeting, meeting.authkey)
        hello = wire.Hello(number, server.address, time.time_ns())
        link.send(hello)
        done = threading.Event()
        beats = threading.Thread(target=_beat, args=(link, greeting.limits, done), daemon=True)
        beats.start()
        try:
            greeting.work(Member(hello, link, server, greeting.folder, greeting.limits))
        finally:
            done.set()
            beats.join()
            signal.setitimer(signal.ITIMER_REAL, 0)
            link.close()


def _beat(link: wire.Link, limits: Limits, done: threading.Event) -> None:
    """Heartbeats, also while the job is made; each puts off the alarm."""
    while not done.wait(BEAT_S):
        if link.send(wire.Beat()):
            signal.setitimer(signal.ITIMER_REAL, 2 * limits.silence + limits.orphaned)


def _compile(link: wire.Link, job: Job, rings: Rings, folder: Path, ahead: Sequence[str]) -> None:
    """Compiles what is asked for until the end; what somebody waits for comes first."""
    jax.config.update("jax_num_cpu_devices", rings.topology.num_nodes * rings.gpus_per_node)
    programs = {
        name: Kept(lower, jax.devices(), folder, name) for name, lower in job.programs.items()
    }
    asked: queue.PriorityQueue[tuple[int, float, wire.Compile]] = queue.PriorityQueue()
    threading.Thread(target=_hear, args=(link, asked), daemon=True).start()
    while True:
        _, _, wanted = asked.get()
        for name in ahead if wanted.name is None else (wanted.name,):
            programs[name].prepare(wanted.shape)
            link.send(wire.Compiled(name, wanted.shape))


def _hear(link: wire.Link, asked: "queue.PriorityQueue[Any]") -> None:
    with contextlib.suppress(OSError, EOFError):
        while not isinstance(message := link.receive(), wire.End):
            asked.put((message.name is None, time.monotonic(), message))
    os._exit(0)  # a compilation cannot be broken off
