"""Everything that a run leaves behind for people and programs, behind one object.

metrics.jsonl has a line a step, events.jsonl a line an event; TensorBoard and the terminal get the
same.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from parallel.elastic.formation import Generation
from parallel.elastic.runtime import Recovered
from parallel.fabric.faults import Fault, FaultPlan
from stepjax.report.terminal import Terminal
from stepjax.train import events
from stepjax.train.board import Board
from stepjax.train.checkpoint import Saved
from stepjax.train.jsonl import Log, read, salvage, truncate
from stepjax.train.trainer import Measured


class Records:
    """What a run tells of itself, as events and lines; `event` and `line` say where they go."""

    def __init__(self, num_nodes: int):
        self._num_nodes = num_nodes
        self._compiled: dict[str, float] = {}  # seconds told so far, by program

    def event(self, event: events.Event) -> None:
        raise NotImplementedError

    def line(self, line: events.StepLine) -> None:
        raise NotImplementedError

    def fault(self, fault: Fault) -> None:
        """A fault of the plan has happened; a run that is resumed will not see it again."""
        self.event(events.Injected(fault.step, what=str(fault)))

    def saved(self, checkpoints: Sequence[Saved]) -> None:
        """These have come to the disk."""
        for saved in checkpoints:
            self.event(events.Checkpoint(saved.step, seconds=saved.seconds))

    @contextlib.contextmanager
    def held(self, step: int) -> Iterator[None]:
        """Within it the run waits until the state before a step is saved."""
        began = time.perf_counter()
        yield
        self.event(events.Held(step, seconds=time.perf_counter() - began))

    def compiled(self, step: int, loading: Mapping[str, float]) -> None:
        """The run has waited for programs.

        Args:  loading: for how many seconds, by program, since this process began.
        """
        for program, seconds in loading.items():
            more = seconds - self._compiled.get(program, 0.0)
            if more > 0:
                self.event(events.Compiled(step, program=program, seconds=more))
        self._compiled |= loading

    def generation(self, step: int, generation: Generation) -> None:
        mesh, nodes = generation.mesh, frozenset(range(self._num_nodes))
        self.event(
            events.Generation(
                step,
                generation=generation.number,
                alive=tuple(sorted(generation.members.nodes)),
                away=tuple(sorted(nodes - generation.members.nodes)),
                groups=generation.placement.groups,
                mesh=dict(mesh.shape),
                devices=mesh.devices.size,
                switched=len(generation.switching.commands),
                switch_seconds=generation.switching.seconds,
            )
        )

    def recovery(self, step: int, recovered: Recovered) -> None:
        phases = recovered.watch.phases
        self.event(
            events.Recovery(
                step,
                generation=recovered.generation.number,
                lost=tuple(sorted(recovered.lost)),
                back=tuple(sorted(recovered.back)),
                phases=phases,
                seconds=sum(phases.values()),
                state_from=recovered.state_from,
                steps_lost=recovered.steps_lost,
                compiled=recovered.compiled,
            )
        )

    def step(
        self,
        step: int,
        measured: Measured,
        seconds: float,
        waited: float,
        generation: Generation,
        learning_rate: float,
        sample_ids_hash: str,
    ) -> None:
        """One line of metrics.jsonl; `waited` of its seconds there was no batch."""
        self.line(
            events.StepLine(
                step,
                loss=measured.loss,
                **{f"loss_{kind}": loss for kind, loss in measured.loss_by_kind.items()},
                grad_norm=measured.grad_norm,
                tokens=measured.tokens,
                seconds=seconds,
                tokens_per_second=measured.tokens / seconds,
                devices=generation.mesh.devices.size,
                generation=generation.number,
                learning_rate=learning_rate,
                sample_ids_hash=sample_ids_hash,
                waited=waited,
                time=time.time(),
            )
        )


class Journal(Records):
    """The files of one workdir. Whatever it writes may raise Unwritable."""

    def __init__(self, workdir: Path, config: ConfigDict):
        super().__init__(config.fabric.num_nodes)
        self.metrics, self.events = Log(workdir / "metrics.jsonl"), Log(workdir / "events.jsonl")
        self._board_folder = workdir / "tensorboard"
        self._board: Board | None = None
        self._terminal = Terminal(
            config.steps, config.fabric.num_nodes * config.fabric.gpus_per_node
        )

    def __enter__(self) -> "Journal":
        self._terminal.__enter__()
        return self

    def __exit__(self, *error) -> None:
        if self._board:
            self._board.close()
        self._terminal.__exit__(*error)

    def begin(self, step: int) -> int:
        """The run goes on at `step`: what was logged of it and later steps is dropped. Returns how
        many steps.
        """
        if self._board:
            self._board.close()
        self._board = Board(self._board_folder, step)
        for line in salvage(self.metrics.path, events.parse_step)[0]:
            if line.step >= step and line.time is not None:
                seconds = line.seconds - line.waited
                self.event(events.Undone(line.step, seconds=seconds, time=line.time))
        return truncate(self.metrics.path, lambda line: line["step"] < step)

    def told(self) -> list[events.Event | events.StepLine]:
        """All that is in the files."""
        return [
            *read(self.metrics.path, events.parse_step),
            *read(self.events.path, events.parse_event),
        ]

    def sync(self) -> None:
        """Brings all lines to the disk, so that no checkpoint there is ahead of them."""
        for log in (self.metrics, self.events):
            log.sync()

    def injected(self) -> list[str]:
        """The faults of the plan that have happened, in this process or an earlier one."""
        return [
            event.what
            for event in read(self.events.path, events.parse_event)
            if isinstance(event, events.Injected)
        ]

    def event(self, event: events.Event) -> None:
        self.events.write(events.record(event))
        self._terminal.event(event)

    def account(self, goodput: dict[str, float] | None) -> None:
        """Says where the time of the run went, if that is known."""
        if goodput:
            self._terminal.account(goodput)

    def line(self, line: events.StepLine) -> None:
        record = events.record(line)
        self.metrics.write(record)
        self._board.write(
            line.step,
            {k: v for k, v in record.items() if k not in ("step", "sample_ids_hash", "time")},
        )
        self._terminal.step(line)


def still_to_come(plan: FaultPlan, injected: list[str]) -> FaultPlan:
    """What a process that resumes a run has before it.

    It starts with every node in place: events that have happened do not happen again, and a node
    whose loss has happened does not come back a second time.
    """
    left, away = [], set()
    for fault in plan.faults:
        if fault.loses and str(fault) not in injected:
            left.append(fault)
            away.add(fault.node)
        elif not fault.loses and fault.node in away:
            left.append(fault)
            away.remove(fault.node)
    return FaultPlan(tuple(left))
