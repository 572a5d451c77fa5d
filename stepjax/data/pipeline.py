"""Batches by number: the samples of step n, and all numbers in them, are a pure function of n.

    sample id   n B .. n B + B - 1 of step n, for ever
        │ global shuffle of each epoch, from the seed        (grain: a permutation, place by place)
        ▼
    utterance index, and a task drawn with the config's weights from (seed, sample id)
        │ source[index] -> examples.example
        ▼
    arrays [B, ...]

So no loader has a state that could be lost: a run that goes on at step n asks for batch n.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import grain
import numpy as np

from stepjax.data import draws
from stepjax.data.examples import example, max_tokens, task_named
from stepjax.data.utterances import Source
from stepjax.recipe import Recipe

ENDLESS = 2**62  # samples; grain cannot count batches of its own endless data sets


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which utterance, and what to do with it, is sample `sample_id` of the run."""

    sample_id: int
    index: int
    task: str


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Stacked examples [B, ...], and the draws that they were made from."""

    arrays: dict[str, np.ndarray]
    draws: tuple[Draw, ...]

    @property
    def sample_ids(self) -> list[int]:
        return [draw.sample_id for draw in self.draws]

    @property
    def sample_ids_hash(self) -> str:
        """16 hex digits of the sample ids, utterance indices and tasks, in their order."""
        return hash_of(self.draws)


def hash_of(draws: Iterable[Draw]) -> str:
    """16 hex digits that tell one list of draws from another."""
    words = "\n".join(f"{draw.sample_id} {draw.index} {draw.task}" for draw in draws)
    return hashlib.blake2b(words.encode(), digest_size=8).hexdigest()


def training_draws(
    num_utterances: int, tasks: Mapping[str, float], seed: int
) -> grain.MapDataset[Draw]:
    """Endless: what sample 0, 1, 2, ... of the run stands for, without making it.

    Args:  tasks: weight of each task; a sample's task is drawn in proportion to them.
    """
    choose = task_chooser(tasks, seed)
    order_seed = int(draws.generator(seed, "order").integers(2**32))
    return (
        grain.MapDataset.range(num_utterances)
        .shuffle(seed=order_seed)
        .repeat(ENDLESS // num_utterances)
        .map_with_index(lambda sample_id, index: Draw(sample_id, int(index), choose(sample_id)))
    )


def training_batches(
    source: Source, recipe: Recipe, tasks: Mapping[str, float], seed: int, batch_size: int
) -> grain.MapDataset[Batch]:
    """Endless: `batches[n]` is the global batch of step n, made of draws n B to n B + B - 1."""
    _check(source, recipe, tasks, batch_size)
    return (
        training_draws(len(source), tasks, seed)
        .map(lambda draw: (draw, example(source[draw.index], draw.task, recipe, draw.sample_id)))
        .batch(batch_size, batch_fn=_stack)
    )


def heldout_batches(
    source: Source, recipe: Recipe, task: str, batch_size: int, build: Callable = example
) -> grain.MapDataset[Batch]:
    """Every utterance once, in order; rows that fill up the last batch have a False `row_mask`.

    Args:  build: `examples.example`, or `examples.prompt` where a model is to answer by itself.
    """
    _check(source, recipe, {task: 1.0}, batch_size)
    return (
        grain.MapDataset.range(len(source))
        .map(lambda index: Draw(int(index), int(index), task))
        .map(lambda draw: (draw, build(source[draw.index], draw.task, recipe, draw.sample_id)))
        .batch(batch_size, batch_fn=lambda made: _filled_up(_stack(made), batch_size))
    )


def iterate(
    batches: grain.MapDataset[Batch],
    start: int = 0,
    stop: int | None = None,
    ahead: int = 2,
    workers: int = 1,
) -> Iterator[Batch]:
    """Batches from number `start` on, up to `ahead` of them made before by `workers` threads.

    What goes wrong in a thread is raised here, at the batch that it belongs to. When the iterator
    ends or is closed (`contextlib.closing`), its threads are gone; grain's own prefetching would
    not wait for its.
    """
    if ahead < 1 or workers < 1:
        raise ValueError(
            f"ahead={ahead} and workers={workers} were given; both must be at least 1."
        )
    numbers = range(start, len(batches) if stop is None else stop)
    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
        ordered = (pool.submit(batches.__getitem__, n) for n in numbers)
        waiting = collections.deque(itertools.islice(ordered, ahead))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(itertools.islice(ordered, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()


def task_chooser(tasks: Mapping[str, float], seed: int) -> Callable[[int], str]:
    """The function from sample id to task; it depends on the weights, not on their order."""
    names = sorted(tasks)
    mass = np.cumsum([tasks[name] for name in names])

    def choose(sample_id: int) -> str:
        drawn = draws.generator(seed, "task", sample_id).random() * mass[-1]
        return names[int(np.searchsorted(mass, drawn, side="right"))]

    return choose


def _stack(made: Sequence[tuple[Draw, dict[str, np.ndarray]]]) -> Batch:
    drawn, examples = zip(*made, strict=True)
    return Batch({key: np.stack([one[key] for one in examples]) for key in examples[0]}, drawn)


def _filled_up(batch: Batch, batch_size: int) -> Batch:
    """Repeats the last row where rows are missing, without its loss, under sample id -1."""
    rows = len(batch.draws)
    arrays = {
        key: x[np.minimum(np.arange(batch_size), rows - 1)] for key, x in batch.arrays.items()
    }
    for key, nothing in {"targets": 0, "kind": 0, "sample_id": -1}.items():
        if key in arrays:
            arrays[key][rows:] = nothing
    return Batch(arrays | {"row_mask": np.arange(batch_size) < rows}, batch.draws)


def _check(source: Source, recipe: Recipe, tasks: Mapping[str, float], batch_size: int) -> None:
    """Refuses what would only be noticed in the middle of a run."""
    if len(source) == 0:
        raise ValueError(
            "the corpus has no utterances; give it at least one recording with its text."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} was given; it must be at least 1.")
    for name in tasks:
        task_named(name)
    if not tasks or min(tasks.values()) < 0 or sum(tasks.values()) <= 0:
        raise ValueError(
            f"task weights {dict(tasks)} were given; at least 0 each, and one more, is wanted."
        )
    needed = max_tokens(
        recipe.max_seconds, tasks, recipe.tokenizer, recipe.vocabulary, source.texts()
    )
    if needed > recipe.max_tokens:
        raise ValueError(
            f"the longest text of the corpus, said in {recipe.max_seconds:g} s, takes {needed} "
            f"tokens and max_tokens={recipe.max_tokens} was given; derive it from all texts, or "
            "leave the longest out."
        )
