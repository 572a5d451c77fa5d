"""Where the wall time of a run went: an account of its events and steps.

The first mesh of a process, and every step, end a stretch of time. Its parts are what its lines say
of themselves. The rest of it was recovering if nodes were lost or came back in it, else waiting. So
the parts add up to the wall time of all processes of the run, each from its call of `train` to its
last line; the time between two processes is not part of it.

    stepping    steps that count
    repeating   steps whose work was lost by going back to a checkpoint; done again, they count
    compiling   the run waited for programs that were compiled or loaded
    saving      the run waited for its state to be saved; what is written beside the steps is free
    recovering  from the step that failed until it began on the next mesh, with its programs
    evaluating  the model was scored on held-out speech
    waiting     all else: processes and corpus at the start, a batch that came late, the end
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from stepjax.train.events import (
    Compiled,
    Evaluation,
    Event,
    Generation,
    Held,
    Recovery,
    Start,
    StepLine,
    Undone,
)

PARTS = (
    "stepping", "repeating", "compiling", "saving", "recovering", "evaluating", "waiting",
)  # fmt: skip
Mark = Event | StepLine


def goodput(lines: Sequence[StepLine], events: Sequence[Event]) -> dict[str, float] | None:
    """Seconds of each of PARTS, and the `share` of stepping in their sum.

    None where a run has no start, or was begun by an earlier version, whose lines lack their times.
    """
    starts = [event for event in events if isinstance(event, Start)]
    if not starts or None in {line.time for line in lines} | {start.began for start in starts}:
        return None
    spent = Counter(dict.fromkeys(PARTS, 0.0))
    for since, marks in _stretches(_in_order(lines, events)):
        parts: Counter[str] = Counter()
        for mark in marks:
            parts.update(_said(mark))
        rest = "waiting"
        if any(isinstance(mark, Recovery) for mark in marks):
            rest = "recovering"
            del parts["compiling"]
        parts[rest] += marks[-1].time - since - parts.total()
        spent.update(parts)
    total = spent.total()
    return {**spent, "share": spent["stepping"] / total if total else 0.0}


def _in_order(lines: Sequence[StepLine], events: Sequence[Event]) -> list[Mark]:
    """Each once: a process that was killed may have told that a step is undone, and left its
    line.
    """
    undone = {(event.step, event.time): event for event in events if isinstance(event, Undone)}
    left = [line for line in lines if (line.step, line.time) not in undone]
    others = [event for event in events if not isinstance(event, Undone)]
    return sorted([*left, *undone.values(), *others], key=lambda mark: mark.time)


def _stretches(marks: Sequence[Mark]) -> Iterator[tuple[float, list[Mark]]]:
    """When each began, and what was told in it; its last mark is its end."""
    since, inside = marks[0].time, []
    for mark in marks:
        if isinstance(mark, Start):
            if inside:
                yield since, inside
            since, inside = mark.began, []
        inside.append(mark)
        if isinstance(mark, (StepLine, Undone)) or _is_first_mesh(mark):
            yield since, inside
            since, inside = mark.time, []
    if inside:
        yield since, inside


def _is_first_mesh(mark: Mark) -> bool:
    return isinstance(mark, Generation) and mark.generation == 0


def _said(mark: Mark) -> dict[str, float]:
    """The seconds that a mark speaks of, by what they were spent on."""
    match mark:
        case StepLine():
            return {"stepping": mark.seconds - mark.waited}
        case Undone():
            return {"repeating": mark.seconds}
        case Compiled():
            return {"compiling": mark.seconds}
        case Held():
            return {"saving": mark.seconds}
        case Evaluation():
            return {"evaluating": mark.seconds}
    return {}
