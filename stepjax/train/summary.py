"""The numbers of result.json that the files of a run tell."""

import dataclasses
import os
import statistics
from collections.abc import Callable, Sequence

from stepjax.train.events import (
    Event,
    Generation,
    Recovery,
    Start,
    StepLine,
    parse_event,
    parse_step,
)
from stepjax.train.goodput import goodput
from stepjax.train.jsonl import read


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Of a whole run; losses and speed are None where nothing was measured."""

    steps: int
    first_loss: float | None
    final_loss: float | None
    tokens_per_second: float | None  # of the median step
    faults: int  # nodes lost
    rejoins: int  # nodes that came back
    generations: int
    steps_lost: int  # steps that had to be done again
    skipped_steps: int  # steps whose loss or gradient is not finite
    recovery_seconds: tuple[float, ...]
    samples_lost: int | None = None  # None where it is not known which samples each step had
    samples_repeated: int | None = None
    goodput: dict[str, float] | None = None  # see `stepjax.train.goodput`


def summary(
    metrics_path: str | os.PathLike,
    events_path: str | os.PathLike,
    expected_hash: Callable[[int], str],
    batch_size: int,
    steps: int,
) -> Numbers:
    """What the two files tell, compared with the samples that should have been trained on.

    Args:
      expected_hash: the `sample_ids_hash` that a step must have had.
      batch_size: samples of a step.
      steps: how many steps the run has behind it; what it says of one is held against
        `expected_hash`.
    """
    lines, events = read(metrics_path, parse_step), read(events_path, parse_event)
    right = {line.step for line in lines if line.sample_ids_hash == expected_hash(line.step)}
    numbers = counts(lines, events)
    return dataclasses.replace(
        numbers,
        samples_lost=batch_size * len(set(range(steps)) - right),
        samples_repeated=batch_size * (len(lines) - numbers.steps),
    )


def counts(lines: Sequence[StepLine], events: Sequence[Event]) -> Numbers:
    """What the lines tell by themselves; which samples were lost, they do not."""
    recoveries = [event for event in events if isinstance(event, Recovery)]
    starts = [event for event in events if isinstance(event, Start)]
    in_order = sorted(lines, key=lambda line: line.step)
    speeds = [line.tokens_per_second for line in lines if line.tokens_per_second is not None]
    return Numbers(
        steps=len({line.step for line in lines}),
        first_loss=in_order[0].loss if lines else None,
        final_loss=in_order[-1].loss if lines else None,
        tokens_per_second=statistics.median(speeds) if speeds else None,
        faults=sum(len(recovery.lost) for recovery in recoveries),
        rejoins=sum(len(recovery.back) for recovery in recoveries),
        generations=sum(isinstance(event, Generation) for event in events),
        steps_lost=sum(event.steps_lost for event in (*starts, *recoveries)),
        skipped_steps=len({line.step for line in lines if line.grad_norm is None}),
        recovery_seconds=tuple(recovery.seconds for recovery in recoveries),
        goodput=goodput(lines, events),
    )
