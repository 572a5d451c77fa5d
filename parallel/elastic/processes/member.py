"""What runs in every process of a run: a node that computes, or the process that compiles.

launch(work, rings, plan, folder, observer)      in the process that was started by hand
    work(member)                                 in each of the others: it makes the job, and
        member.run(job, rings, body)             runs `body(cluster)` if this is a node
"""

import contextlib
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.extend import backend

from parallel.elastic.cluster import GoBack
from parallel.elastic.formation import NotEnoughNodes, Rings
from parallel.elastic.processes import wire
from parallel.elastic.processes.exchange import BlockServer
from parallel.elastic.processes.node import ProcessCluster, RunOver, program_path
from parallel.elastic.processes.supervisor import Supervisor
from parallel.elastic.processes.terms import Limits, Observer
from parallel.elastic.runtime import Job
from parallel.fabric.faults import FaultPlan
from parallel.spmd.executables import Program

USUAL = Limits()
LIMIT = "--xla_cpu_collective_timeout_seconds=30"  # of what was given up, see node._Call
PROGRAMS, LOGS = ".programs", "logs"  # folders


class Ended(NamedTuple):
    """How the work of a node ended: with a result, or for a reason that all nodes have."""

    result: Any
    reason: Any = None


class Member:
    """This process, in `work`."""

    def __init__(
        self,
        number: int,
        line: wire.Line,
        server: BlockServer,
        folder: Path,
        limits: Limits,
    ):
        self.number = number
        self._line, self._server = line, server
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
            _compile(self._line, job, rings, self._folder, ahead)
            return
        cluster = ProcessCluster(
            self.number,
            self._line,
            self._server,
            rings,
            job.shapes,
            self._folder,
            self._limits.silence * 3,
        )
        with contextlib.suppress(RunOver):
            try:
                ended = body(cluster)
            except NotEnoughNodes as error:
                ended = Ended(None, str(error))
            cluster.done(*ended)


Work = Callable[[Member], None]  # can be pickled


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
    programs: Path | None = None,
) -> Any:
    """Runs `work` in a process for each node of `rings`, on this machine, until it is done.

    Args:
      folder: for logs.
      shapes: of the state's tree.
      go_back: where the run begins, and goes back to where no live node holds its state.
      preload: modules that are imported once for all processes.
      started: is given the supervisor.
      programs: a folder of compiled programs that the caller keeps, for several runs of equal ones;
        without it they lie in `folder` while it runs.
    Returns: the result of the first node.
    Raises:  RunFailed.
    """
    own, logs = folder / PROGRAMS, folder / LOGS
    shutil.rmtree(own, ignore_errors=True)
    stored = programs or own
    for path in (stored, logs):
        path.mkdir(parents=True, exist_ok=True)
    authkey, observer = secrets.token_bytes(32), observer or Observer()
    office = wire.Office(authkey)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *preload])

    def log_of(number: int) -> Path:
        return logs / ("compiler.log" if number == wire.COMPILER else f"node-{number}.log")

    def last_word(number: int) -> str:
        log = log_of(number)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return lines[-1].strip() if lines else ""

    def start(number: int) -> Any:
        arguments = number, office.address, authkey, stored, log_of(number), limits, work
        process = context.Process(target=_main, args=arguments, daemon=True)
        process.start()
        return process

    with BlockServer(authkey) as server:
        supervisor = Supervisor(
            rings,
            office,
            start,
            last_word,
            server,
            shapes,
            go_back,
            observer,
            plan,
            limits,
        )
        try:
            started(supervisor)
            return supervisor.run()
        finally:
            supervisor.close()
            shutil.rmtree(own, ignore_errors=True)


def _main(
    number: int,
    address: wire.Address,
    authkey: bytes,
    folder: Path,
    log: Path,
    limits: Limits,
    work: Work,
) -> None:
    os.setsid()  # Ctrl-C is for the supervisor
    os.environ["XLA_FLAGS"] = f"{LIMIT} {os.environ.get('XLA_FLAGS', '')}".strip()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with log.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    with (
        wire.connected(address, authkey, limits.silence) as line,
        BlockServer(authkey) as server,
    ):
        line.send(wire.Hello(number, server.address))
        stay = threading.Event()
        threading.Thread(target=_beat, args=(line, stay), daemon=True).start()
        try:
            work(Member(number, line, server, folder, limits))
        finally:
            stay.set()


def _beat(line: wire.Line, done: threading.Event) -> None:
    """Heartbeats, also while the job is made."""
    with contextlib.suppress(OSError):
        while not done.wait(0.25):
            line.send(wire.Beat())


def _compile(line: wire.Line, job: Job, rings: Rings, folder: Path, ahead: Sequence[str]) -> None:
    """Compiles what is asked for until the end; what somebody waits for comes first."""
    jax.config.update("jax_num_cpu_devices", rings.topology.num_nodes * rings.gpus_per_node)
    programs = {name: Program(lower, jax.devices()) for name, lower in job.programs.items()}
    asked: queue.PriorityQueue[tuple[int, float, wire.Compile]] = queue.PriorityQueue()
    threading.Thread(target=_hear, args=(line, asked), daemon=True).start()
    while True:
        _, _, wanted = asked.get()
        for name in ahead if wanted.name is None else (wanted.name,):
            path, seconds = program_path(folder, name, wanted.shape), 0.0
            if not path.exists():
                began = time.perf_counter()
                portable = programs[name].prepare(wanted.shape)
                partial = path.with_suffix(".partial")
                partial.write_bytes(pickle.dumps(portable))
                partial.rename(path)
                seconds = time.perf_counter() - began
            line.send(wire.Compiled(name, wanted.shape, seconds))


def _hear(line: wire.Line, asked: "queue.PriorityQueue[Any]") -> None:
    with contextlib.suppress(OSError, EOFError):
        while not isinstance(message := line.receive(), wire.End):
            asked.put((message.name is None, time.monotonic(), message))
    os._exit(0)  # a compilation cannot be broken off
