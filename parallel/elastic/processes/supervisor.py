"""The supervisor: hears all processes of a run, says which generation is formed, and when.

    waiting ──all there──▶ gathering ──all ready──▶ running ──all voted──▶ a step counts
                               ▲                       │
                               └── a node was lost, or one has come (after a step that counts)

One thread does all of it, message by message. No process is special, and none is waited for
without a limit: one that is silent, or keeps the others waiting, is killed.
"""

import contextlib
import dataclasses
import queue
import time
from collections.abc import Mapping
from typing import Any

from parallel.elastic.formation import Formation, NotEnoughNodes, Rings, Stopwatch
from parallel.elastic.membership import Members
from parallel.elastic.processes import checksum, wire
from parallel.elastic.processes.archive import Archive
from parallel.elastic.processes.pace import Pace
from parallel.elastic.processes.staff import Staff
from parallel.elastic.processes.terms import Limits, Observer, Process, RunFailed
from parallel.elastic.processes.world import Service
from parallel.fabric.faults import Fault, FaultPlan

TICK_S = 0.05


@dataclasses.dataclass
class Node:
    """A process as the supervisor knows it."""

    number: int
    line: wire.Line
    blocks: wire.Address
    heard_at: float
    ready: int | None = None  # the newest generation for which it is
    offers: wire.Offers = dataclasses.field(default_factory=dict)
    at: tuple[int, str] = (-1, "")
    voted: int = -1
    check: checksum.Check | None = None

    def tell(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # its end will be heard of
            self.line.send(message)


class Supervisor:
    """Runs the processes of a job until their work is done.

    Args:
      plan: faults that the nodes act out.
      found: nodes that run already, because an earlier supervisor of this run has started them.
    """

    def __init__(
        self,
        rings: Rings,
        office: wire.Office,
        staff: Staff,
        archive: Archive,
        observer: Observer,
        plan: FaultPlan,
        limits: Limits,
        found: Mapping[int, Process],
    ):
        self.rings = rings
        self._office, self._staff, self._archive = office, staff, archive
        self._observer, self._limits = observer, limits
        self._plan = list(plan.faults)
        self._nodes: dict[int, Node] = {}
        self._of_line: dict[wire.Line, Node] = {}
        self._arrivals: dict[int, int] = {}
        self._away: set[int] = set()  # that the plan has taken, and not yet given back
        self._number = 0  # of the generation that is being formed, or is there
        self._phase = "waiting"
        self._awaited: set[int] = set()
        self._formation: Formation | None = None
        self._orphans = found
        self._takes_up = bool(found)
        self._taken_up = not found  # whether it is known where the run goes on
        self._early: list[Any] = []  # what orphans have told before
        self._used: tuple[int, ...] = tuple(found)
        self._service: Service | None = None
        self._since = time.monotonic()  # of the phase, or the last step that counted
        self._pace = Pace()
        self._took: list[float] = []  # seconds of the steps of this generation
        self._counted = len(found)  # steps of this run
        self._wanted: set[wire.Compile] = set()  # programs that somebody waits for
        self._changed = False  # nodes have come, or idle ones were lost
        self._due: int | None = None  # a step that all have voted for, and that waits for a node
        self._stop: str | None = None
        self._doubts: dict[int, int] = {}  # by step: how often nobody knew which replica is wrong
        self._forget = False  # what nodes hold is of no use: some of it is wrong
        self._deaths: dict[int, int] = {}  # that nobody asked for
        self._done: dict[int, wire.Done] = {}

    def run(self) -> Any:
        """Returns what the work of the first node gives.

        Raises: RunFailed with the reason why the nodes gave up.
        """
        for node in (*range(self.rings.topology.num_nodes), wire.COMPILER):
            if node in self._orphans:
                self._staff.take_over(node, self._orphans[node], self._limits.orphaned)
            else:
                self._start(node)
        while self._phase != "over":
            try:
                self._hear(*self._office.arrived.get(timeout=TICK_S))
            except queue.Empty:
                self._look()  # only now is it known who is silent
        first = self._done[min(self._done)]
        if first.reason is not None:
            raise RunFailed(first.reason)
        return first.result

    def stop(self, reason: str) -> None:
        """Ends the run after the step at hand; at once if there is none.

        May be called from a signal handler.
        """
        self._stop = reason

    def close(self) -> None:
        """Ends all processes and connections."""
        self._staff.close()
        self._office.close()
        self._staff.join(self._staff.numbers, self._limits.end)
        if self._service:
            self._service.close()

    # -- what is heard

    def _hear(self, line: wire.Line, message: Any) -> None:
        if isinstance(message, wire.Hello):
            self._welcome(line, message)
            return
        node = self._of_line.get(line)
        if node is None:
            return
        node.heard_at = time.monotonic()
        match message:
            case None:
                self._lose(node)
            case wire.At(step, moment):
                node.at = step, moment
            case wire.Firing(fault):
                self._happens(fault)
            case wire.Ready(number, offers):
                self._ready(node, number, offers)
            case wire.Restore(number):
                if (self._phase, number) == ("running", self._number):
                    node.tell(self._archive.restored(number))
                    self._since = time.monotonic()
            case wire.Offered(step):
                everyone = self._takes_part()
                if whole := self._archive.offered(node.number, node.blocks, message, everyone):
                    self._observer.save(step, whole)
            case wire.Vote(number, step, check, alone):
                if (self._phase, number) == ("running", self._number):
                    node.voted, node.check = step, check
                    self._pace.note(node.number, alone)
                    self._count(step)
            case wire.Want(name, shape):
                self._wanted.add(wire.Compile(name, shape))
                self._tell([wire.COMPILER], wire.Compile(name, shape))
            case wire.Compiled(name, shape):
                self._wanted.discard(wire.Compile(name, shape))
                self._since = time.monotonic()
            case wire.Note(what):
                if self._taken_up:
                    self._observer.note(what)
                else:
                    self._early.append(what)
            case wire.Done(step=step):
                self._take_up(step)
                self._done[node.number] = message
                self._see_the_end()

    def _welcome(self, line: wire.Line, hello: wire.Hello) -> None:
        if before := self._nodes.get(hello.node):  # it comes before its end was heard of
            before.line.close()
            self._lose(before)
        if hello.node not in self._staff.numbers:  # nobody waits for it, or not any more
            line.close()
            return
        if self._phase == "waiting":
            self._since = time.monotonic()  # from now on it must get ready
        node = Node(hello.node, line, hello.blocks, time.monotonic())
        self._nodes[node.number] = self._of_line[line] = node
        if node.number == wire.COMPILER:  # it has come late, or after the end of another
            for wanted in self._wanted:
                node.tell(wanted)
            self._look_ahead()
        self._arrivals[node.number] = hello.came
        if hello.number:
            self._welcome_orphan(node, hello)

    def _welcome_orphan(self, node: Node, hello: wire.Hello) -> None:
        """A node of an earlier supervisor leaves its world, as if another node had been lost."""
        if not self._takes_up:  # it does other work than this run
            self._kill(node.number, "it was part of an earlier run")
            return
        known = self._formation
        if hello.formation and (known is None or hello.formation.number > known.number):
            self._formation = hello.formation
        if self._phase == "waiting":
            self._number = max(self._number, hello.number + 1)
        elif hello.number >= self._number:
            self._kill(node.number, "it came when the others had gone on without it")
        node.tell(wire.Leave(self._number))

    def _take_up(self, step: int) -> None:
        """Here the run goes on; what its nodes told before they said so is heard now."""
        if not self._taken_up:
            self._taken_up = True
            self._observer.taken_up(step)
            for what in self._early:
                self._observer.note(what)

    def _ready(self, node: Node, number: int, offers: wire.Offers) -> None:
        node.ready, node.offers = number, offers
        if self._phase == "waiting":
            if not self._to_come():
                self._gather()
        elif self._phase == "gathering":
            self._form_if_ready()
        elif number < self._number and node.number not in self._away:
            self._changed = True
        if self._due is not None:
            self._count(self._due)

    def _lose(self, node: Node) -> None:
        """A connection has ended, and so has its process, or will."""
        del self._of_line[node.line]
        if self._nodes.get(node.number) is not node:
            return
        del self._nodes[node.number]
        if self._phase == "over":
            return
        why = self._staff.why(node.number)
        if self._done:
            self._awaited.discard(node.number)
            self._see_the_end()
            return
        if node.number == wire.COMPILER:
            self._deaths[wire.COMPILER] = self._deaths.get(wire.COMPILER, 0) + 1
            if self._deaths[wire.COMPILER] > self._limits.returns:
                self._give_up(f"the compiling process fails again and again: {why}.")
            else:
                self._start(wire.COMPILER)
            return
        if self._number == 0:
            self._give_up(f"node {node.number} cannot take part: {why}.")
            return
        self._observer.lost(node.number, why)
        if node.number not in self._away:
            self._deaths[node.number] = self._deaths.get(node.number, 0) + 1
        if self._phase != "stopping" and self._deaths.get(node.number, 0) <= self._limits.returns:
            self._start(node.number)
        else:
            self._staff.drop(node.number)
        if self._phase == "running":
            if node.number in self._used:
                self._gather()
            else:
                self._changed = True
        elif self._phase == "gathering":
            self._awaited.discard(node.number)
            self._form_if_ready()
        elif self._phase == "waiting" and not self._to_come():
            self._gather()
        elif self._phase == "stopping":
            self._see_the_end()

    # -- generations

    def _to_come(self) -> set[int]:
        """Nodes that were started, and are not yet there."""
        there = {node.number for node in self._nodes.values() if node.ready is not None}
        return set(self._staff.numbers) - there - self._away - {wire.COMPILER}

    def _gather(self) -> None:
        """Has every node leave its world, and waits until all are ready for the next."""
        self._call(self._number + 1)
        self._tell(self._awaited, wire.Leave(self._number))

    def _call(self, number: int) -> None:
        self._number, self._phase, self._since = number, "gathering", time.monotonic()
        self._due, self._changed = None, False
        self._awaited = {
            node.number
            for node in self._nodes.values()
            if node.ready is not None and node.number not in self._away
        }

    def _form_if_ready(self) -> None:
        ready = {n for n in self._awaited if self._nodes[n].ready == self._number}
        if ready < self._awaited:
            return
        epoch = self._formation.members.epoch + 1 if self._formation else 1
        members = Members(frozenset(ready), epoch, dict(self._arrivals))
        if self._forget:
            for n in ready:
                self._nodes[n].offers = {}
            self._forget = False
        peers = {n: (self._nodes[n].blocks, self._nodes[n].offers) for n in sorted(ready)}
        try:
            formation = self.rings.form(self._formation, members, Stopwatch())
        except NotEnoughNodes as error:
            if self._to_come() and self._stop is None:
                self._phase, self._since = "waiting", time.monotonic()
                return
            self._phase, self._since = "stopping", time.monotonic()
            self._tell(ready, wire.Stop(str(error), peers))
            return
        held = [step for _, offers in peers.values() for step, _ in offers.values()]
        if held:
            self._take_up(max(held))
        self._taken_up, self._orphans = True, {}
        if self._service:
            self._service.close()
        self._formation, self._used = formation, self.rings.nodes(formation)
        self._service = Service(len(self._used), self._office.address[0])
        for n in ready:
            plan = tuple(fault for fault in self._plan if fault.node == n and not fault.gives_back)
            self._tell(
                [n],
                wire.Form(self._number, formation, self._used, self._service.address, peers, plan),
            )
        for node in self._nodes.values():
            node.voted, node.at, node.check = -1, (-1, ""), None
        self._pace.keep(self._used)
        self._phase, self._since, self._took = "running", time.monotonic(), []
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Has the programs compiled that the loss of one more ring would ask for."""
        smaller = self.rings.shape(self._formation, fewer=1) if self._formation else None
        if smaller:
            self._tell([wire.COMPILER], wire.Compile(None, smaller))

    def _count(self, step: int) -> None:
        """Makes a step count when all have voted for it, and the plan's nodes are back."""
        if any(n not in self._nodes or self._nodes[n].voted != step for n in self._used):
            return
        if self._is_doubtful(step):
            return
        back = [f for f in self._plan if (f.kind, f.step) == ("back", step + 1)]
        if any(f.node not in self._nodes or self._nodes[f.node].ready is None for f in back):
            self._due = step
            return
        for fault in back:
            self._plan.remove(fault)
            self._away.discard(fault.node)
            self._observer.fault(fault)
        for n, times in self._pace.slow().items():
            self._observer.slow(step, n, times)
        now = time.monotonic()
        self._took.append(now - self._since)
        self._since, self._due = now, None
        self._counted += 1
        change = (self._changed or bool(back)) and self._stop is None
        used = self._used
        if change:
            self._call(self._number + 1)
        self._tell(used, wire.Commit(step, self._number if change else None, self._stop))
        if change:
            self._tell(self._awaited - set(used), wire.Leave(self._number))
        else:
            self._take_spares(step + 1)

    def _is_doubtful(self, step: int) -> bool:
        """Compares what replicas are about to do to the state; whoever is wrong is killed.

        Where it cannot be said who is wrong, the step is done again: an error of the moment does
        not come twice. One that does lies in the state, which is then that of the last checkpoint.
        """
        checks = {n: check for n in self._used if (check := self._nodes[n].check) is not None}
        wrong, undecided = checksum.compare(checks)
        for n in wrong:
            if n not in self._away:  # the plan may want it back
                self._deaths[n] = self._limits.returns + 1
            self._kill(n, f"its state was not that of its replicas in step {step}")
        if undecided and not wrong:
            self._doubts[step] = self._doubts.get(step, 0) + 1
            if self._doubts[step] > 2:
                self._give_up(
                    f"replicas of the state differ in step {step}, also when it is done again from "
                    "the last checkpoint; find the broken node, and start again without it."
                )
                return True
            self._forget = self._doubts[step] == 2
            self._observer.differed(step)
            self._gather()
        return bool(wrong) or undecided

    def _take_spares(self, step: int) -> None:
        """Kills the nodes that the plan takes in a step, and that have no part in it."""
        for fault in [f for f in self._plan if f.loses and f.step == step]:
            if fault.node in self._nodes and fault.node not in self._used:
                self._happens(fault)
                self._kill(fault.node, "the fault plan took it")

    def _happens(self, fault: Fault) -> None:
        """The plan takes a node, which is away until the plan gives it back, or makes it slow."""
        self._plan.remove(fault)
        if fault.loses:
            self._away.add(fault.node)
            self._deaths[fault.node] = self._deaths.get(fault.node, 0) + (not fault.asked)
        self._observer.fault(fault)

    # -- what takes too long

    def _look(self) -> None:
        now = time.monotonic()
        if self._stop is not None and self._counted == 0 and self._phase != "over":
            self._give_up(self._stop)
        if self._stop is not None and self._phase == "waiting":
            self._gather()
        for node in list(self._nodes.values()):
            if node.number != wire.COMPILER and now - node.heard_at > self._limits.silence:
                self._kill(node.number, _silent(now - node.heard_at))
        for number in self._staff.missing(self._nodes):
            self._never_came(number)
        waited = now - self._since
        if self._phase == "running" and not self._wanted and waited > self._step_limit():
            self._break_up()
        elif self._phase == "gathering" and waited > self._limits.start:
            for n in [n for n in self._awaited if self._nodes[n].ready != self._number]:
                self._kill(n, "it did not come to be part of the next mesh")
        elif self._phase == "waiting" and waited > self._limits.start:
            for n in self._to_come() & self._nodes.keys():
                self._kill(n, "it did not come to be part of the first mesh")
        elif self._phase == "stopping" and waited > self._limits.end:
            self._over()

    def _step_limit(self) -> float:
        if self._due is not None:
            return self._limits.start
        if not self._took:
            return self._limits.first_step
        return self._limits.slowest * max(*self._took[-10:], 1.0)

    def _break_up(self) -> None:
        """A step takes too long: kills those that have not even begun what others wait in.

        If all wait for a node that the plan gives back, the plan is wrong: it does not come.
        """
        if self._due is not None:
            self._plan = [f for f in self._plan if (f.kind, f.step) != ("back", self._due + 1)]
            self._count(self._due)
            return
        now = self._since = time.monotonic()
        if self._staff.ending:
            return  # the end of a node that was killed sets the others free
        late = [n for n in self._used if n in self._nodes and self._nodes[n].voted < self._at()]
        silent = [n for n in late if now - self._nodes[n].heard_at > self._limits.silence / 2]
        behind = [n for n in late if self._nodes[n].at != (self._at(), "during")]
        why = f"it kept the others waiting in step {self._at()}"
        for n in silent or behind or late:
            self._kill(n, _silent(now - self._nodes[n].heard_at) if silent else why)

    def _at(self) -> int:
        return max(self._nodes[n].at[0] for n in self._used if n in self._nodes)

    def _kill(self, number: int, why: str) -> None:
        if self._staff.kill(number, why):
            self._nodes[number].line.close()
            self._nodes[number].heard_at = time.monotonic()

    def _never_came(self, number: int) -> None:
        """A process ended, or was given up, before it said a word."""
        why = self._staff.why(number)
        if number in self._orphans:
            self._start(number)
        elif self._number == 0 or number == wire.COMPILER:
            who = "the compiling process" if number == wire.COMPILER else f"node {number}"
            self._give_up(f"{who} cannot be started: {why}.")
        else:
            self._staff.drop(number)
            if self._phase == "waiting" and not self._to_come():
                self._gather()

    # -- processes

    def _start(self, number: int) -> None:
        self._staff.start(number, self._limits.come)

    def _see_the_end(self) -> None:
        """Ends the run when all nodes of the mesh have done their work, or are gone."""
        there = self._nodes.keys() | (self._orphans.keys() & set(self._staff.numbers))
        if all(n in self._done or n not in there for n in self._takes_part()):
            self._over()

    def _takes_part(self) -> set[int]:
        """The nodes of the mesh, or of the last one."""
        return set(self._used) if self._phase != "stopping" else self._awaited

    def _give_up(self, reason: str) -> None:
        self._done = {0: wire.Done(None, reason, -1)}
        self._over()

    def _over(self) -> None:
        self._phase = "over"
        self._observer.wait()
        self._tell(self._nodes, wire.End())
        self._staff.join(self._nodes, self._limits.end)
        if not self._done:
            self._done[0] = wire.Done(None, "all processes of the run have ended.", -1)

    def _tell(self, numbers: Any, message: Any) -> None:
        for number in list(numbers):
            if number in self._nodes:
                self._nodes[number].tell(message)


def _silent(seconds: float) -> str:
    return f"it was silent for {seconds:.0f} s"
