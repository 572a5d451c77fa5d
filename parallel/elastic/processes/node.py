"""One node of a run as a process of its own: the `Cluster` that a run sees there.

The node keeps what it computes and holds; everything that needs agreement is asked of the
supervisor. Two threads stand beside the run: one hears the supervisor, the other frees the run
from a collective that can no longer end.
"""

import collections
import contextlib
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from parallel.elastic.cluster import GoBack, Lower, NodeFailure, Rebuilt
from parallel.elastic.formation import Formation, Generation, NotEnoughNodes, Rings, Stopwatch
from parallel.elastic.processes import wire, world
from parallel.elastic.processes.acts import DRAG_S, NEVER_S, fail, flip
from parallel.elastic.processes.blocks import Blocks, Scattered, holders
from parallel.elastic.processes.call import Call
from parallel.elastic.processes.checksum import Check, checksum
from parallel.elastic.processes.copies import KEPT, Copies
from parallel.elastic.processes.exchange import BlockServer, NotHeld, PeerFailed
from parallel.elastic.processes.stored import Stored
from parallel.elastic.processes.terms import Limits
from parallel.elastic.recovery import StateLost
from parallel.elastic.snapshot import keepers
from parallel.fabric.faults import Fault
from parallel.spmd.executables import program_path

TICK_S = 0.25
FREE_S = 0.05  # how often a call that waits for others is freed again
GRACE_S = 0.25  # until a call that was freed is given up
STATE, SAVED = "state", "saved"  # names under which blocks are offered
Peers = Mapping[int, tuple[wire.Address, wire.Offers]]


class SupervisorLost(RuntimeError):
    """The supervisor has ended without a word."""


class RunOver(RuntimeError):
    """The run has ended without this node."""

    def __init__(self) -> None:
        super().__init__("the run has ended.")


class ProcessCluster:
    """See `Cluster`. The calling thread must be the only one that computes in JAX here.

    Args:
      shapes: of the state's tree.
      folder: where compiled programs lie.
    """

    def __init__(
        self,
        hello: wire.Hello,
        link: wire.Link,
        server: BlockServer,
        rings: Rings,
        shapes: Any,
        folder: Path,
        limits: Limits,
    ):
        self.node = hello.node
        self.rings = rings
        self.left_out = False  # of a mesh since the last step that counts here
        self._hello, self._link, self._server = hello, link, server
        self._shapes, self._folder, self._limits = shapes, folder, limits
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
        self._formation: Formation | None = None
        self._service = ""
        self._peers: Peers = {}
        self._plan: tuple[Fault, ...] = ()
        self._held: tuple[int, Any] | None = None
        self._sum = 0, 0  # of it
        self._drag_s = 0.0  # by which the fault plan makes this node slow
        self._alone_s = 0.0  # that the last call took which concerned this node only
        self._copies: Copies | None = None
        self._counts = False  # the step at hand: what is left of it concerns this node only
        self._blocks: dict[str, Blocks] = {}
        # What another supervisor must hear:
        self._ready: wire.Ready | None = None
        self._notes: collections.deque[wire.Note] = collections.deque(maxlen=64)
        self._done: wire.Done | None = None
        for target in (self._hear, self._keep_free):
            threading.Thread(target=target, name="node", daemon=True).start()

    @property
    def asked(self) -> bool:
        """Whether the run is to end after this step."""
        return self._commit is not None and self._commit.stop is not None

    def take_over(self) -> None:
        """Interrupts go to the supervisor from the start."""

    def note(self, what: Any) -> None:
        """Tells the run's observer."""
        self._notes.append(wire.Note(what))
        self._link.send(self._notes[-1])

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
                    3 * self._limits.silence,
                    self._server.address[0],
                )
            except TimeoutError:
                self._wait(lambda: self._leave > self._number, "no world could be formed")
                continue
            devices = dict(zip(form.nodes, ranks, strict=True))
            generation = self.rings.mesh(form.formation, devices)
            self._copies = self._copies_of(form)
            watch.lap("join")
            return generation

    def hold(self, step: int, tree: Any, generation: Generation) -> None:
        """See Cluster."""
        self._held = step, tree
        self._counts = False
        for name, blocks in list(self._blocks.items()):
            if blocks.step > step:  # the run has gone back: of this it knows nothing any more
                self._drop(name)
        if self._is_compared(step):
            self._sum = checksum(tree)
        if self._copies:
            self._copies.keep(step, tree)

    def rebuild(self, generation: Generation, shardings: Any, go_back: GoBack) -> Rebuilt:
        """See Cluster. All nodes know the same offers, and come to the same decision."""
        steps = {step for _, offers in self._peers.values() for step, _ in offers.values()}
        live = {node: (at, without(KEPT, offers)) for node, (at, offers) in self._peers.items()}
        with self._failing(0):
            for step in sorted(steps, reverse=True):
                for source, peers in (("replica", live), ("neighbour", self._peers)):
                    with contextlib.suppress(StateLost):
                        return Rebuilt(step, self._gather(step, peers, shardings), source)
            self._link.send(wire.Restore(self._number))
            self._wait(
                lambda: self._found is not None or self._leave > self._number, "", forever=True
            )
            if self._found is None:
                raise NodeFailure(0)
            peers = self._found.peers
            ((_, offers),) = peers.values()
            ((step, _),) = offers.values()
            return Rebuilt(step, self._gather(step, peers, shardings), "checkpoint")

    def whole(self) -> Any:
        """See Cluster: None, for it is the supervisor that saves what the nodes offer it."""
        if self._held is not None:
            self._offer(SAVED, Blocks.take(*self._held))
        elif STATE in self._blocks:  # after Stop
            self._offer(SAVED, self._blocks[STATE])
        if SAVED in self._blocks:
            self._link.send(self._offered())
        return None

    def run(self, fn: Callable[..., Any], *args: Any, step: int) -> Any:
        """See Cluster. Waits for the results. What follows a commit fails by no other node."""
        began, alone = time.monotonic(), self._counts
        dying = self._act("during", step)
        self._link.send(wire.At(step, "during"))
        with self._failing(step):
            if alone:
                time.sleep(self._drag_s)
            call = Call(fn, args, self._heard)
            del args
            if dying:
                time.sleep(NEVER_S)
            with self._heard:
                self._heard.wait_for(lambda: call.ended or self._failed or self._lost)
                self._heard.wait_for(lambda: call.ended, GRACE_S)
            if not call.ended:
                raise NodeFailure(step)
            if alone:
                self._alone_s = time.monotonic() - began
            return call.results()

    def commit(self, step: int, change: Any = None) -> None:
        """See Cluster."""
        self._commit = None
        copies = self._copies
        if change is not None and copies:
            self._wait(lambda: copies.are_there() or self._leave > self._number, "", forever=True)
        self._link.send(wire.Vote(self._number, step, self._check(step, change), self._alone_s))
        self._wait(lambda: self._commit is not None or self._leave > self._number, "", forever=True)
        if self._commit is None:
            raise NodeFailure(step)
        self._counts = True
        self._drop(STATE)

    def progress(self, step: int, moment: str) -> None:
        """See Cluster. A node that the fault plan lets die now, dies."""
        if moment == "before":  # only then has it told of the recoveries of the step before
            self.left_out = False
        self._link.send(wire.At(step, moment))
        self._act(moment, step)

    def done(self, result: Any, reason: str | None = None) -> None:
        """Tells that the work has ended, and waits until all others have said so, too."""
        step = self._held[0] if self._held else -1
        self._done = wire.Done(result, reason, step)
        self._link.send(self._done)
        with self._heard:
            self._heard.wait_for(lambda: self._end or self._lost)
        self._held = None
        world.leave()

    # -- what is heard

    def _hear(self) -> None:
        while True:
            try:
                message = self._link.receive()
            except (OSError, EOFError):
                if not self._end and self._link.renew(self._introduce, self._limits.orphaned):
                    continue
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

    def _introduce(self) -> Iterator[Any]:
        """What a supervisor that takes up this run must hear of this node."""
        yield self._hello._replace(number=self._number, formation=self._formation)
        if self._ready and self._ready.number == 0:  # later, it is asked for anew
            yield self._ready
        if SAVED in self._blocks:
            yield self._offered()
        yield from list(self._notes)
        if self._done:
            yield self._done

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
        limit_s = self._limits.orphaned + 3 * self._limits.silence
        with self._heard:
            heard = self._heard.wait_for(
                lambda: until() or self._lost or self._end or self._stop is not None,
                None if forever else limit_s,
            )
        if self._end and not until():
            raise RunOver
        if self._stop is not None and not until():
            raise NotEnoughNodes(self._stop.reason)
        if self._lost and not until():
            raise SupervisorLost("the supervisor of this run has ended; start the run again.")
        if not heard:
            raise TimeoutError(
                f"{what}: the supervisor has announced nothing within {limit_s:g} s."
            )

    def _want(self, want: wire.Want) -> None:
        """Waits until a program is there."""
        self._link.send(want)
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
        if self._copies:
            self._copies.close()
            self._copies = None
        world.leave()
        self._service = ""

    def _agree(self) -> wire.Form:
        """Says what is held here, and waits for the next formation."""
        while True:
            with self._heard:
                number = self._leave
                self._found = self._commit = None
            self._number = number
            self._ready = wire.Ready(number, without(SAVED, self._server.offers()))
            self._link.send(self._ready)

            def formed() -> bool:
                return self._leave > number or (
                    self._form is not None and self._form.number == number
                )

            self._wait(formed, "", forever=True)
            form = self._form
            if self._leave == number and form is not None:
                self._service = form.service
                self._peers, self._plan = form.peers, form.plan
                self._formation = form.formation
                return form

    def _forget(self) -> None:
        """A node that is left out holds nothing that is of use later."""
        for name in list(self._blocks):
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._server.withdraw(name)
        self._blocks.pop(name, None)

    def _offer(self, name: str, blocks: Blocks) -> None:
        self._blocks[name] = blocks
        self._server.offer(name, blocks)

    def _copies_of(self, form: wire.Form) -> Copies:
        return Copies(
            self.node,
            self._limits.copy_every,
            keepers(form.formation.placement.groups),
            lambda device: form.nodes[device.process_index],
            {node: address for node, (address, _) in form.peers.items()},
            self._server,
            self._offer,
            self._heard,
        )

    def _offered(self) -> wire.Offered:
        blocks = self._blocks[SAVED]
        return wire.Offered(blocks.step, {SAVED: (blocks.step, blocks.catalog())})

    def _is_compared(self, step: int) -> bool:
        return step % self._limits.compare_every == 0

    def _check(self, step: int, change: Any) -> Check | None:
        """What this node holds before a step counts."""
        if change is None or self._held is None or not self._is_compared(step):
            return None
        (layout, state), (_, changes) = checksum(self._held[1]), checksum(change)
        value = zlib.crc32(state.to_bytes(4), changes)
        return Check(layout, value, kept=(layout, state) == self._sum)

    def _gather(self, step: int, peers: Peers, shardings: Any) -> Any:
        """The state at a step, from what `peers` offer. Raises StateLost, in all nodes or none."""
        _, offers = peers.get(self.node, ("", {}))
        own = [block for name, block in list(self._blocks.items()) if name in offers]
        there = holders(step, peers)
        scattered = Scattered(step, self._shapes, own, there, self._server.fetch, self.node)
        return scattered.rebuild(shardings)

    # -- the fault plan

    def _act(self, moment: str, step: int) -> bool:
        """Acts out what the plan says of this node at this moment.

        "During" a step, the end comes while the others compute; True if it does.
        """
        due = [f for f in self._plan if (f.step, f.moment, f.node) == (step, moment, self.node)]
        self._plan = tuple(fault for fault in self._plan if fault not in due)
        for fault in due:
            self._link.send(wire.Firing(fault))
            if fault.kind == "slow":
                self._drag_s = DRAG_S
            elif fault.kind == "corrupt" and self._held is not None:
                flip(jax.tree.leaves(self._held[1])[0])
            elif moment != "during":
                fail(fault.kind)
            else:
                threading.Timer(0.005, fail, (fault.kind,)).start()
                return True
        return False


def without(kind: str, offers: wire.Offers) -> wire.Offers:
    """The offers whose names begin with other words."""
    return {name: offer for name, offer in offers.items() if not name.startswith(kind)}
