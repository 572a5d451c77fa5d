"""The story of a run, as far as its files tell it: they may be torn, incomplete, or not there
yet.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from parallel.show import words
from stepjax.train.jsonl import salvage
from stepjax.train.summary import counts

Record = Mapping[str, Any]


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def is_measured(value: Any) -> bool:
    return value is None or is_number(value)


def is_int(value: Any) -> bool:
    return isinstance(value, int)


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def are_nodes(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_int, value))


def are_groups(value: Any) -> bool:
    return isinstance(value, list) and all(map(are_nodes, value))


def are_phases(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_measured, value.values()))


METRIC = {"step": is_int, "loss": is_measured, "tokens_per_second": is_measured}
OPTIONAL = {"loss_text": is_measured, "loss_audio": is_measured, "seconds": is_measured}
EVENTS = {  # what a record must have to be told
    "start": {"num_nodes": is_int, "gpus_per_node": is_int, "hops": is_int, "fabric": is_text, "tensor": is_int,
              "fsdp": is_int},
    "generation": {"generation": is_int, "alive": are_nodes, "away": are_nodes, "groups": are_groups,
                   "devices": is_int, "switched": is_int, "switch_seconds": is_number},
    "recovery": {"generation": is_int, "gone": are_nodes, "back": are_nodes, "phases": are_phases,
                 "seconds": is_number, "state_from": is_text, "steps_lost": is_int},
    "evaluation": {"loss": is_measured, "wer": is_measured, "cer": is_measured},
    "stop": {"reason": is_text},
}  # fmt: skip
RESULT = {"steps": is_int, "first_loss": is_measured, "final_loss": is_measured, "tokens_per_second": is_measured,
          "faults": is_int, "rejoins": is_int, "steps_lost": is_int, "recovery_seconds": are_numbers,
          "samples_lost": is_int, "samples_repeated": is_int}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recovery:
    """A recovery, and which generations of the story it led from and to, where that is known."""

    event: Record
    before: int | None
    after: int | None


@dataclasses.dataclass(frozen=True)
class Story:
    """The records of a run that are of use; `notes` say what is missing or could not be read."""

    name: str
    metrics: list[Record]  # a step each, in order
    events: list[Record]
    result: Record
    config: Record
    notes: list[str]

    def of(self, kind: str) -> list[Record]:
        return [event for event in self.events if event["event"] == kind]

    @property
    def start(self) -> Record | None:
        return next(iter(self.of("start")), None)

    @property
    def numbers(self) -> Record:
        """What the files count, and what result.json has beyond it."""
        return counts(self.metrics, self.events) | self.result

    def recoveries(self) -> Iterator[Recovery]:
        """In order. A generation is the newest of its number: a resumed run counts from 0 again."""
        newest: dict[int, int] = {}
        made = 0
        for event in self.events:
            if event["event"] == "generation":
                newest[event["generation"]] = made
                made += 1
            elif event["event"] == "recovery":
                after = newest.get(event["generation"])
                yield Recovery(event, after - 1 if after else None, after)


def load(workdir: Path) -> Story:
    notes: list[str] = []
    steps = {line["step"]: line for line in _records(workdir / "metrics.jsonl", _is_step, notes)}
    events = _records(workdir / "events.jsonl", _is_event, notes)
    result = _object(workdir / "result.json", notes)
    if wrong := [name for name in RESULT.keys() & result.keys() if not RESULT[name](result[name])]:
        notes.append(f"result.json has no usable {', '.join(sorted(wrong))}.")
        result = {name: value for name, value in result.items() if name not in wrong}
    config = _object(workdir / "config.json", notes) if (workdir / "config.json").exists() else {}
    return Story(
        workdir.resolve().name, [steps[n] for n in sorted(steps)], events, result, config, notes
    )


def _records(path: Path, of_use: Callable[[Record], bool], notes: list[str]) -> list[Record]:
    if not path.exists():
        notes.append(f"{path.name} is missing.")
    records, damaged = salvage(path)
    useful = [record for record in records if of_use(record)]
    if left_out := len(damaged) + len(records) - len(useful):
        notes.append(f"{words.counted(left_out, 'line')} of {path.name} could not be read.")
    return useful


def _is_step(record: Record) -> bool:
    return _has(record, METRIC) and _has(dict.fromkeys(OPTIONAL) | record, OPTIONAL)


def _is_event(record: Record) -> bool:
    kind = record.get("event")
    return is_text(kind) and _has(record, {"step": is_int} | EVENTS.get(kind, {}))


def _has(record: Record, fields: Mapping[str, Callable[[Any], bool]]) -> bool:
    return all(name in record and fits(record[name]) for name, fits in fields.items())


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
    n = story.numbers
    parts = [_ending(story), _faults(n["faults"], n["rejoins"])]
    if n["steps_lost"]:
        parts.append(f"{words.counted(n['steps_lost'], 'step')} had to be done again")
    lost, repeated = n.get("samples_lost"), n.get("samples_repeated")
    if lost == repeated == 0:
        parts.append("no sample was lost or repeated")
    elif lost is not None and repeated is not None:
        parts.append(f"{words.counted(lost, 'sample')} were lost and {repeated} repeated")
    return f"{', '.join(parts[:-1])}, and {parts[-1]}."


def _ending(story: Story) -> str:
    done = words.counted(story.numbers["steps"], "step")
    match [event for event in story.events if event["event"] in ("start", "stop", "end")][-1:]:
        case [{"event": "end"}]:
            return f"The run did its {done}"
        case [{"event": "stop", "reason": reason}]:
            return f"The run stopped after {done} ({reason.rstrip('.')})"
    return f"The run has no end yet: {done} done so far"


def _faults(faults: int, rejoins: int) -> str:
    back = f", took {rejoins} back" if rejoins else ""
    return (
        f"lost {words.counted(faults, 'node')} on the way{back}"
        if faults or rejoins
        else "no node was lost"
    )


def setting(start: Record) -> str:
    """What it ran on, in one sentence."""
    ways = f", parameters split {start['fsdp']} ways" if start["fsdp"] > 1 else ""
    nodes, devices, each = (
        words.counted(start[name], what)
        for name, what in (("num_nodes", "node"), ("gpus_per_node", "device"), ("tensor", "device"))
    )
    return f"{nodes} of {devices} on a {start['hops']}-hop {start['fabric']}, tensor-parallel rings of {each}{ways}."
