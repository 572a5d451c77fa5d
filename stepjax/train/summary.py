"""The numbers of result.json that the files of a run tell."""

import os
import statistics
from collections.abc import Callable, Sequence

from stepjax.train.jsonl import Record, read


def summary(
    metrics_path: str | os.PathLike,
    events_path: str | os.PathLike,
    expected_hash: Callable[[int], str],
    batch_size: int,
    steps: int,
) -> Record:
    """The numbers of result.json that the two files tell.

    Args:
      expected_hash: the `sample_ids_hash` that a step must have had.
      batch_size: samples of a step.
      steps: how many steps the run has behind it; what it says of one is held against
        `expected_hash`.
    """
    metrics, events = read(metrics_path), read(events_path)
    right = {
        line["step"] for line in metrics if line["sample_ids_hash"] == expected_hash(line["step"])
    }
    result = counts(metrics, events)
    return result | {
        "samples_lost": batch_size * len(set(range(steps)) - right),
        "samples_repeated": batch_size * (len(metrics) - result["steps"]),
    }


def counts(metrics: Sequence[Record], events: Sequence[Record]) -> Record:
    """What the records tell without knowing what they should say."""
    recoveries = [event for event in events if event["event"] == "recovery"]
    first, last = (pick(metrics, key=lambda line: line["step"], default={}) for pick in (min, max))
    speeds = [
        line["tokens_per_second"] for line in metrics if line["tokens_per_second"] is not None
    ]
    return {
        "steps": len({line["step"] for line in metrics}),
        "first_loss": first.get("loss"),
        "final_loss": last.get("loss"),
        "tokens_per_second": statistics.median(speeds) if speeds else None,
        "faults": sum(len(event["gone"]) for event in recoveries),
        "rejoins": sum(len(event["back"]) for event in recoveries),
        "generations": sum(event["event"] == "generation" for event in events),
        "steps_lost": sum(event.get("steps_lost", 0) for event in events),
        "recovery_seconds": [event["seconds"] for event in recoveries],
    }
