"""The story of a run, as far as its files tell it: they may be torn, incomplete, or not there
yet.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from parallel.show import words
from stepjax.train.events import (
    End,
    Event,
    Generation,
    Recovery,
    Start,
    StepLine,
    Stop,
    parse_event,
    parse_step,
)
from stepjax.train.jsonl import Record, fitting, salvage
from stepjax.train.summary import Numbers, counts

Kind = TypeVar("Kind", bound=Event)
Line = TypeVar("Line")


@dataclasses.dataclass(frozen=True)
class Rewiring:
    """A recovery, and which generations of the story it led from and to, where that is known."""

    recovery: Recovery
    before: int | None
    after: int | None


@dataclasses.dataclass(frozen=True)
class Story:
    """The lines of a run that are of use; `notes` say what is missing or could not be read."""

    name: str
    steps: list[StepLine]  # in order, each once
    events: list[Event]
    numbers: Numbers  # what the lines count, or result.json where that says another
    result: Record
    config: Record
    notes: list[str]

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def start(self) -> Start | None:
        return next(iter(self.of(Start)), None)

    def rewirings(self) -> Iterator[Rewiring]:
        """In order. A generation is the newest of its number: a resumed run counts from 0 again."""
        newest: dict[int, int] = {}
        made = 0
        for event in self.events:
            if isinstance(event, Generation):
                newest[event.generation] = made
                made += 1
            elif isinstance(event, Recovery):
                after = newest.get(event.generation)
                yield Rewiring(event, after - 1 if after else None, after)


def load(workdir: Path) -> Story:
    notes: list[str] = []
    lines = {line.step: line for line in _lines(workdir / "metrics.jsonl", parse_step, notes)}
    steps = [lines[n] for n in sorted(lines)]
    events = _lines(workdir / "events.jsonl", parse_event, notes)
    result = _object(workdir / "result.json", notes)
    known, wrong = fitting(Numbers, result)
    if wrong:
        notes.append(f"result.json has no usable {', '.join(sorted(wrong))}.")
        result = {name: value for name, value in result.items() if name not in wrong}
    numbers = dataclasses.replace(counts(steps, events), **known)
    config = _object(workdir / "config.json", notes) if (workdir / "config.json").exists() else {}
    return Story(workdir.resolve().name, steps, events, numbers, result, config, notes)


def _lines(path: Path, parse: Callable[[Record], Line], notes: list[str]) -> list[Line]:
    if not path.exists():
        notes.append(f"{path.name} is missing.")
    lines, damaged = salvage(path, parse)
    if damaged:
        notes.append(f"{words.counted(len(damaged), 'line')} of {path.name} could not be read.")
    return lines


def _object(path: Path, notes: list[str]) -> Record:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        value = None
        notes.append(f"{path.name} is missing.")
    except ValueError:
        value = None
        notes.append(f"{path.name} could not be read.")
    return value if isinstance(value, dict) else {}


def verdict(story: Story) -> str:
    """The run in one sentence."""
    numbers = story.numbers
    parts = [_ending(story), _faults(numbers.faults, numbers.rejoins)]
    if numbers.steps_lost:
        parts.append(f"{words.counted(numbers.steps_lost, 'step')} had to be done again")
    if numbers.skipped_steps:
        skipped = words.counted(numbers.skipped_steps, "step")
        parts.append(f"{skipped} without a finite loss and gradient were skipped")
    lost, repeated = numbers.samples_lost, numbers.samples_repeated
    if lost == repeated == 0:
        parts.append("no sample was lost or repeated")
    elif lost is not None and repeated is not None:
        parts.append(f"{words.counted(lost, 'sample')} were lost and {repeated} repeated")
    return f"{', '.join(parts[:-1])}, and {parts[-1]}."


def _ending(story: Story) -> str:
    done = words.counted(story.numbers.steps, "step")
    match [event for event in story.events if isinstance(event, (Start, Stop, End))][-1:]:
        case [End()]:
            return f"The run did its {done}"
        case [Stop(reason=reason)]:
            return f"The run stopped after {done} ({reason.rstrip('.')})"
    return f"The run has no end yet: {done} done so far"


def _faults(faults: int, rejoins: int) -> str:
    if not faults and not rejoins:
        return "no node was lost"
    back = f", took {rejoins} back" if rejoins else ""
    return f"lost {words.counted(faults, 'node')} on the way{back}"


def setting(start: Start) -> str:
    """What it ran on, in one sentence."""
    nodes = words.counted(start.num_nodes, "node")
    devices = words.counted(start.gpus_per_node, "device")
    each = words.counted(start.tensor, "device")
    ways = f", parameters split {start.fsdp} ways" if start.fsdp > 1 else ""
    fabric = f"{start.hops}-hop {start.fabric}"
    return f"{nodes} of {devices} on a {fabric}, tensor-parallel rings of {each}{ways}."
