"""One node of a run as a process of its own: the `Cluster` that a run sees there.

The node keeps what it computes and holds; everything that needs agreement is asked of the
supervisor. Two threads stand beside the run: one hears the supervisor, the other frees the run
from a collective that can no longer end.
"""

import contextlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
from jax.sharding import Mesh

from parallel.elastic.cluster import GoBack, Lower, NodeFailure, Rebuilt
from parallel.elastic.formation import Generation, NotEnoughNodes, Rings, Stopwatch
from parallel.elastic.processes import wire, world
from parallel.elastic.processes.blocks import Blocks, Holders, Scattered, holders
from parallel.elastic.processes.exchange import BlockServer, NotHeld, PeerFailed
from parallel.elastic.recovery import StateLost
from parallel.fabric.faults import Fault
from parallel.spmd.executables import Portable

TICK_S = 0.25
FREE_S = 0.05  # how often a call that waits for others is freed again
NEVER_S = 3600  # longer than a node that acts out its end is there
GRACE_S = 0.25  # until a call that was freed is given up
FAILURES = {"lose": signal.SIGKILL, "stop": signal.SIGSTOP, "crash": signal.SIGSEGV}
STATE, SAVED = "state", "saved"  # names under which blocks are offered


class SupervisorLost(RuntimeError):
    """The supervisor has ended without a word."""


class RunOver(RuntimeError):
    """The run has ended without this node."""

    def __init__(self) -> None:
        super().__init__("the run has ended.")


class Stored:
    """A program that the compiling process keeps in a folder."""

    def __init__(self, name: str, folder: Path, ask: Callable[[wire.Want], None]):
        self._name, self._folder, self._ask = name, folder, ask

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """The supervisor sees to it that smaller meshes are compiled for."""
        return True

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Nothing is left to do here."""

    def on(self, mesh: Mesh) -> Callable[..., Any]:
        """See Program. Waits until it has been compiled."""
        shape = mesh.devices.shape
        path = program_path(self._folder, self._name, shape)
        if not path.exists():
            self._ask(wire.Want(self._name, shape))
        portable: Portable = pickle.loads(path.read_bytes())
        return portable.on(mesh)


def program_path(folder: Path, name: str, shape: tuple[int, ...]) -> Path:
    """Where a compiled program lies."""
    return folder / f"{name.replace(' ', '_')}-{'x'.join(map(str, shape))}.program"


class _Call:
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


class ProcessCluster:
    """See `Cluster`. The calling thread must be the only one that computes in JAX here.

    Args:
      shapes: of the state's tree.
      folder: where compiled programs lie.
      limit_s: how long to wait for the supervisor's word, once something has failed.
    """

    def __init__(
        self,
        node: int,
        line: wire.Line,
        server: BlockServer,
        rings: Rings,
        shapes: Any,
        folder: Path,
        limit_s: float,
    ):
        self.node = node
        self.rings = rings
        self.left_out = False  # of a mesh since the last step that counts here
        self._line, self._server = line, server
        self._shapes, self._folder = shapes, folder
        self._limit_s = limit_s
        self._heard = threading.Condition()
        # What was heard, under `_heard`:
        self._leave = 0  # the newest generation that is being formed
        self._form: wire.Form | None = None
        self._found: wire.Found | None = None
        self._commit: wire.Commit | None = None
        self._stop: wire.Stop | None = None
        self._end = False
        self._lost = False  # the supervisor
        # Of the generation at hand:
        self._number = 0
        self._service = ""
        self._ranks: tuple[int, ...] = ()
        self._peers: Mapping[int, tuple[wire.Address, wire.Offers]] = {}
        self._plan: tuple[Fault, ...] = ()
        self._held: tuple[int, Any] | None = None
        self._counts = False  # the step at hand: what is left of it concerns this node only
        self._blocks: dict[str, Blocks] = {}
        self._threads = [
            threading.Thread(target=target, name="node", daemon=True)
            for target in (self._hear, self._keep_free)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def asked(self) -> bool:
        """Whether the run is to end after this step."""
        return self._commit is not None and self._commit.stop is not None

    def take_over(self) -> None:
        """Interrupts go to the supervisor from the start."""

    def note(self, what: Any) -> None:
        """Tells the run's observer."""
        self._send(wire.Note(what))

    # -- Cluster

    def program(self, name: str, lower: Lower) -> Stored:
        """See Cluster."""
        return Stored(name, self._folder, self._want)

    def changed(self, now: Generation) -> bool:
        """See Cluster."""
        return self._leave > self._number or self._lost

    def next(self, now: Generation | None, after_failure: bool, watch: Stopwatch) -> Generation:
        """See Cluster. A node that the mesh leaves out waits here until it is taken in."""
        if after_failure:
            self._wait(
                lambda: self._leave > self._number, "a step failed here, and no node was lost"
            )
        watch.lap("notice")
        self._unload()
        watch.lap("unload")
        while True:
            form = self._agree()
            watch.lap("agree")
            if self.node not in form.nodes:
                self.left_out = True
                self._wait(lambda: self._leave > self._number, "", forever=True)
                self._forget()  # only now: those of the mesh may have needed what it held
                continue
            try:
                ranks = world.join(
                    form.service,
                    form.nodes.index(self.node),
                    len(form.nodes),
                    self.rings.gpus_per_node,
                    self._limit_s,
                )
            except TimeoutError:
                self._wait(lambda: self._leave > self._number, "no world could be formed")
                continue
            devices = dict(zip(form.nodes, ranks, strict=True))
            generation = self.rings.mesh(form.formation, devices)
            watch.lap("join")
            return generation

    def hold(self, step: int, tree: Any, generation: Generation) -> None:
        """See Cluster."""
        self._held = step, tree
        self._counts = False

    def rebuild(self, generation: Generation, shardings: Any, go_back: GoBack) -> Rebuilt:
        """See Cluster. All nodes know the same offers, and come to the same decision."""
        steps = {step for _, offers in self._peers.values() for step, _ in offers.values()}
        with self._failing(0):
            for step in sorted(steps, reverse=True):
                with contextlib.suppress(StateLost):
                    tree = self._scattered(step, holders(step, self._peers)).rebuild(shardings)
                    return Rebuilt(step, tree, "replica")
            self._send(wire.Restore(self._number))
            self._wait(
                lambda: self._found is not None or self._leave > self._number, "", forever=True
            )
            if self._found is None:
                raise NodeFailure(0)
            peers = self._found.peers
            ((_, offers),) = peers.values()
            ((step, _),) = offers.values()
            tree = self._scattered(step, holders(step, peers)).rebuild(shardings)
            return Rebuilt(step, tree, "checkpoint")

    def whole(self) -> Any:
        """See Cluster: None, for it is the supervisor that saves what the nodes offer it."""
        if self._held is not None:
            self._offer(SAVED, Blocks.take(*self._held))
        elif STATE in self._blocks:  # after Stop
            self._offer(SAVED, self._blocks[STATE])
        if SAVED in self._blocks:
            self._send(wire.Offered(self._blocks[SAVED].step, self._offers_of(SAVED)))
        return None

    def run(self, fn: Callable[..., Any], *args: Any, step: int) -> Any:
        """See Cluster. Waits for the results. What follows a commit fails by no other node."""
        dying = self._act("during", step)
        self._send(wire.At(step, "during"))
        with self._failing(step):
            call = _Call(fn, args, self._heard)
            del args
            if dying:
                time.sleep(NEVER_S)
            with self._heard:
                self._heard.wait_for(lambda: call.ended or self._failed or self._lost)
                self._heard.wait_for(lambda: call.ended, GRACE_S)
            if not call.ended:
                raise NodeFailure(step)
            return call.results()

    def commit(self, step: int) -> None:
        """See Cluster."""
        self._commit = None
        self._send(wire.Vote(self._number, step))
        self._wait(lambda: self._commit is not None or self._leave > self._number, "", forever=True)
        if self._commit is None:
            raise NodeFailure(step)
        self._counts = True
        self._server.withdraw(STATE)
        self._blocks.pop(STATE, None)

    def progress(self, step: int, moment: str) -> None:
        """See Cluster. A node that the fault plan lets die now, dies."""
        if moment == "before":  # only then has it told of the recoveries of the step before
            self.left_out = False
        self._send(wire.At(step, moment))
        self._act(moment, step)

    def done(self, result: Any, reason: str | None = None) -> None:
        """Tells that the work has ended, and waits until all others have said so, too."""
        self._send(wire.Done(result, reason))
        with self._heard:
            self._heard.wait_for(lambda: self._end or self._lost)
        self._held = None
        world.leave()

    # -- what is heard

    def _hear(self) -> None:
        while True:
            try:
                message = self._line.receive()
            except (OSError, EOFError):
                message = None
            with self._heard:
                match message:
                    case None:
                        self._lost = True
                    case wire.Leave(number):
                        self._leave = number
                    case wire.Form():
                        self._form = message
                    case wire.Found():
                        self._found = message
                    case wire.Commit(leave=leave):
                        self._commit = message
                        self._leave = leave or self._leave
                    case wire.Stop():
                        self._stop = message
                    case wire.End():
                        self._end = True
                self._heard.notify_all()
            if message is None:
                return

    def _keep_free(self) -> None:
        """Frees the run from what it waits for in a world that is to be left.

        A generation that is formed after a step that counts is no reason: nobody waits then.
        """
        while True:
            with self._heard:
                self._heard.wait_for(lambda: self._failed or self._lost, TICK_S)
                failed = self._failed or self._lost
            if failed:
                world.free(self._service)
                time.sleep(FREE_S)

    @property
    def _failed(self) -> bool:
        orderly = self._commit.leave if self._commit else None
        return self._leave > self._number and self._leave != orderly and bool(self._service)

    def _wait(self, until: Callable[[], bool], what: str, forever: bool = False) -> None:
        """Waits for the supervisor's word; with `forever`, as long as it is there."""
        with self._heard:
            heard = self._heard.wait_for(
                lambda: until() or self._lost or self._end or self._stop is not None,
                None if forever else self._limit_s,
            )
        if self._end and not until():
            raise RunOver
        if self._stop is not None and not until():
            raise NotEnoughNodes(self._stop.reason)
        if self._lost and not until():
            raise SupervisorLost("the supervisor of this run has ended; start the run again.")
        if not heard:
            raise TimeoutError(
                f"{what}: the supervisor has announced nothing within {self._limit_s:g} s."
            )

    def _send(self, message: Any) -> None:
        try:
            self._line.send(message)
        except OSError:
            self._lost = True

    def _want(self, want: wire.Want) -> None:
        """Waits until a program is there."""
        self._send(want)
        path = program_path(self._folder, want.name, want.shape)
        while not path.exists():
            if self._leave > self._number:
                raise NodeFailure(0)
            with self._heard:
                self._heard.wait_for(
                    lambda: self._lost or self._end or self._stop is not None, 0.02
                )
            if self._stop or self._lost or self._end:
                self._wait(lambda: False, "")

    @contextlib.contextmanager
    def _failing(self, step: int) -> Iterator[None]:
        """What fails here because another node was lost is a NodeFailure."""
        if self._counts:
            yield
            return
        if self._leave > self._number:
            raise NodeFailure(step)
        try:
            yield
        except (NodeFailure, StateLost, SupervisorLost, RunOver, NotEnoughNodes):
            raise
        except (jax.errors.JaxRuntimeError, PeerFailed, NotHeld, ValueError) as error:
            try:
                self._wait(lambda: self._leave > self._number, str(error))
            except TimeoutError:
                raise error from None
            raise NodeFailure(step) from None

    # -- a generation

    def _unload(self) -> None:
        """Takes the state off the devices, and leaves the world."""
        if self._held is not None:
            step, tree = self._held
            self._held = None
            self._offer(STATE, Blocks.take(step, tree))
            del tree
        world.leave()
        self._service = ""

    def _agree(self) -> wire.Form:
        """Says what is held here, and waits for the next formation."""
        while True:
            with self._heard:
                number = self._leave
                self._found = self._commit = None
            self._number = number
            self._send(wire.Ready(number, self._offers_of(STATE)))

            def formed() -> bool:
                return self._leave > number or (
                    self._form is not None and self._form.number == number
                )

            self._wait(formed, "", forever=True)
            form = self._form
            if self._leave == number and form is not None:
                self._service, self._ranks = form.service, form.nodes
                self._peers, self._plan = form.peers, form.plan
                return form

    def _forget(self) -> None:
        """A node that is left out holds nothing that is of use later."""
        for name in list(self._blocks):
            self._server.withdraw(name)
        self._blocks.clear()

    def _offer(self, name: str, blocks: Blocks) -> None:
        self._blocks[name] = blocks
        self._server.offer(name, blocks)

    def _offers_of(self, name: str) -> wire.Offers:
        offers = self._server.offers()
        return {name: offers[name]} if name in offers else {}

    def _scattered(self, step: int, there: Holders) -> Scattered:
        own = list(self._blocks.values())
        return Scattered(step, self._shapes, own, there, self._server.fetch, self.node)

    # -- the fault plan

    def _act(self, moment: str, step: int) -> bool:
        """Acts out what the plan says of this node at this moment: the end of the process.

        "During" a step, the end comes while the others compute; True if it does.
        """
        due = [f for f in self._plan if (f.step, f.moment, f.node) == (step, moment, self.node)]
        if not due:
            return False
        self._send(wire.Firing(due[0]))
        if moment != "during":
            _fail(due[0].kind)
        threading.Timer(0.005, _fail, (due[0].kind,)).start()
        return True


def _fail(kind: str) -> NoReturn:
    os.kill(os.getpid(), FAILURES[kind])
    time.sleep(NEVER_S)  # the signal may take a moment
    raise AssertionError("unreachable")
