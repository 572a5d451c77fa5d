"""The lines of events.jsonl and metrics.jsonl: each kind is written and read by one definition.

To add an event, add a class here, and its words to `stepjax/report/terminal.py`. A field that is
added later needs a default, so that the files of earlier runs still read.

>>> record(Checkpoint(step=20, seconds=0.5, time=9.0))
{'event': 'checkpoint', 'step': 20, 'time': 9.0, 'seconds': 0.5}
>>> parse_event({"event": "stop", "step": 3, "time": 9.0, "reason": "interrupted"})
Stop(step=3, time=9.0, reason='interrupted')
"""

import dataclasses
import time
from typing import ClassVar

from parallel.fabric.topology import Nodes
from stepjax.train.jsonl import Record, parse


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened in a run: before step `step`, at `time` (seconds since the epoch).

    Its kind, `event` in the file, is the name of its class in small letters.
    """

    kinds: ClassVar[dict[str, type["Event"]]] = {}

    step: int
    time: float = dataclasses.field(default_factory=time.time, kw_only=True)

    def __init_subclass__(cls) -> None:
        Event.kinds[cls.__name__.lower()] = cls


@dataclasses.dataclass(frozen=True)
class Start(Event):
    """A process begins, or goes on with what an earlier one left."""

    num_nodes: int
    gpus_per_node: int
    hops: int
    fabric: str  # "ring" or "line"
    tensor: int
    fsdp: int
    plan: str  # the faults to come, as text
    resumed: bool
    steps_lost: int  # that an earlier process had done, and that are done again
    began: float | None = None  # when `train` was called, in seconds since the epoch


@dataclasses.dataclass(frozen=True)
class Generation(Event):
    """A mesh was formed: the nodes that are there, and the rings on which it lies."""

    generation: int
    alive: Nodes
    away: Nodes
    groups: tuple[Nodes, ...]
    mesh: dict[str, int]  # axis -> size
    devices: int  # in rings
    switched: int  # bundles
    switch_seconds: float


@dataclasses.dataclass(frozen=True)
class Compiled(Event):
    """The run has waited for a program, which was compiled or loaded."""

    program: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Injected(Event):
    """A fault of the plan has happened; `what` is its text."""

    what: str


@dataclasses.dataclass(frozen=True)
class Recovery(Event):
    """Nodes were lost or came back, and the step was done on the mesh of another generation."""

    generation: int
    lost: Nodes
    back: Nodes
    phases: dict[str, float | None]  # seconds of each; None for one that there was not
    seconds: float
    state_from: str  # "replica", "neighbour" or "checkpoint"
    steps_lost: int
    cause: str = ""  # who failed, and how that was noticed: known of real processes
    compiled: int = 0  # programs that had to be compiled


@dataclasses.dataclass(frozen=True)
class Slow(Event):
    """A node takes many times as long as the others for what each does alone."""

    node: int
    times: float | None  # the median of all nodes


@dataclasses.dataclass(frozen=True)
class Skipped(Event):
    """The loss or the gradient of step `step` is not finite; it left the state as it was."""


@dataclasses.dataclass(frozen=True)
class Undone(Event):
    """Step `step` was done at `time`, and has to be done again: its line was dropped."""

    seconds: float  # as in the line, without those in which it waited


@dataclasses.dataclass(frozen=True)
class Held(Event):
    """The run has waited for the state before step `step` to be saved; much of that is done beside
    the steps.
    """

    seconds: float


@dataclasses.dataclass(frozen=True)
class Checkpoint(Event):
    """The state before step `step` was saved."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Damaged(Event):
    """The checkpoint of step `step` cannot be used; the run goes on from an older one."""

    reason: str
    restored: int  # step of the checkpoint that is used


@dataclasses.dataclass(frozen=True)
class Evaluation(Event):
    """The model transcribed the held-out recordings."""

    wer: float | None
    cer: float | None
    loss: float | None
    seconds: float = 0.0  # of an earlier version they are not known


@dataclasses.dataclass(frozen=True)
class Stop(Event):
    """The run ended before its last step."""

    reason: str


@dataclasses.dataclass(frozen=True)
class End(Event):
    """The run did all of its steps."""


@dataclasses.dataclass(frozen=True)
class StepLine:
    """A line of metrics.jsonl. A loss is None where the batch has no token of its kind, and where
    it is not finite; the norm of the gradient is None where the step was skipped.
    """

    step: int
    loss: float | None
    loss_text: float | None
    loss_audio: float | None
    grad_norm: float | None
    tokens: int  # with a loss
    seconds: float  # without recovering, evaluating and saving
    tokens_per_second: float | None
    devices: int
    generation: int
    learning_rate: float
    sample_ids_hash: str
    waited: float = 0.0  # of `seconds`: until the batch was there
    time: float | None = None  # when it was done, in seconds since the epoch


def record(line: Event | StepLine) -> Record:
    """What stands in the file."""
    kind = {"event": type(line).__name__.lower()} if isinstance(line, Event) else {}
    return kind | dataclasses.asdict(line)


def parse_event(found: Record) -> Event:
    """The event of a line of events.jsonl. Raises ValueError that says what is wrong with it."""
    kind = found.get("event")
    if not isinstance(kind, str) or kind not in Event.kinds:
        raise ValueError(f"there is no event {kind!r}: events are {', '.join(Event.kinds)}.")
    return parse(Event.kinds[kind], found)


def parse_step(found: Record) -> StepLine:
    """The step of a line of metrics.jsonl. Raises ValueError that says what is wrong with it."""
    return parse(StepLine, found)
