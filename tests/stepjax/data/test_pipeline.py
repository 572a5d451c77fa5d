import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stepjax.codec import kmeans
from stepjax.data import pipeline
from stepjax.data.examples import example, max_tokens, prompt
from stepjax.data.pipeline import heldout_batches, iterate, training_batches
from stepjax.data.utterances import Source, Utterance
from stepjax.recipe import Recipe
from stepjax.text import chat, tokenizer
from stepjax.text.vocabulary import Vocabulary

BOTH = {"transcribe": 1.0, "answer": 1.0}


class Noises(Source):
    """`length` utterances of noise; number `broken` cannot be read."""

    def __init__(self, length, broken=None):
        self.length, self.broken = length, broken

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        if i == self.broken:
            raise OSError(f"clip {i} is gone")
        audio_T = np.random.default_rng(i).normal(size=800 + 10 * i).astype(np.float32)
        return Utterance(f"clip-{i}", audio_T, self.texts()[i], "a", "en")

    def identity(self):
        return {"length": str(self.length)}

    def texts(self):
        return [["one", "two", "three four"][i % 3] for i in range(self.length)]


SOURCE = Noises(11)
TOKENIZER = tokenizer.train(SOURCE.texts(), text_size=330, templates=chat.TEMPLATES)
VOCABULARY = Vocabulary(text_size=330, audio_codes=4)
CODEC = kmeans.fit([clip.audio for clip in SOURCE.clips()], num_codes=4, seed=0)
LIMIT = max_tokens(0.1, BOTH, TOKENIZER, VOCABULARY, SOURCE.texts())
RECIPE = Recipe(TOKENIZER, VOCABULARY, CODEC, 0.1, LIMIT, max_text=3)


def training(source=SOURCE, tasks=BOTH, seed=0, batch_size=4):
    return training_batches(source, RECIPE, tasks, seed, batch_size)


def same(first, second):
    arrays = first.arrays.keys() == second.arrays.keys() and all(
        np.array_equal(x, second.arrays[key]) for key, x in first.arrays.items()
    )
    return arrays and first.draws == second.draws


def test_batch_n_does_not_depend_on_what_was_asked_before():
    forwards = [training()[n] for n in range(6)]
    batches = training()
    for n in (5, 0, 3, 3, 1, 4, 2):
        assert same(batches[n], forwards[n])


def test_step_n_has_the_samples_n_b_and_on():
    for batch_size in (1, 3, 4):
        batches = training(batch_size=batch_size)
        for n in (0, 1, 7, 10**9 // batch_size):
            expected = list(range(n * batch_size, (n + 1) * batch_size))
            assert batches[n].sample_ids == expected
            assert list(batches[n].arrays["sample_id"]) == expected


def test_samples_do_not_depend_on_the_batch_size():
    one_by_one, together = training(batch_size=1), training(batch_size=6)
    for n in range(3):
        singles = [one_by_one[6 * n + i] for i in range(6)]
        assert [single.draws[0] for single in singles] == list(together[n].draws)
        for key, x in together[n].arrays.items():
            assert np.array_equal(x, np.concatenate([single.arrays[key] for single in singles]))


def test_rows_are_examples_of_their_draws():
    batch = training()[2]
    for row, draw in enumerate(batch.draws):
        one = example(SOURCE[draw.index], draw.task, RECIPE, draw.sample_id)
        for key, x in batch.arrays.items():
            assert np.array_equal(x[row], one[key])


def test_every_epoch_has_every_utterance_once_in_its_own_order():
    batches = training(batch_size=11)
    epochs = [[draw.index for draw in batches[n].draws] for n in range(5)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(11))
    assert len(set(map(tuple, epochs))) == 5


def test_seeds_have_different_orders_and_tasks():
    draws = [training(seed=seed, batch_size=11)[0].draws for seed in range(8)]
    assert len({tuple(draw.index for draw in drawn) for drawn in draws}) == 8
    assert len({tuple(draw.task for draw in drawn) for drawn in draws}) == 8


def test_an_utterance_meets_other_tasks_in_other_epochs():
    epochs = [training(batch_size=11)[n].draws for n in range(12)]
    for index in range(11):
        assert {draw.task for epoch in epochs for draw in epoch if draw.index == index} == set(BOTH)


def test_tasks_come_in_proportion_to_their_weights():
    choose = pipeline.task_chooser({"transcribe": 3.0, "answer": 1.0}, seed=0)
    counts = Counter(map(choose, range(4000)))
    assert abs(counts["transcribe"] / 4000 - 0.75) < 0.03


def test_the_order_of_the_weights_does_not_matter():
    choose = pipeline.task_chooser({"transcribe": 3.0, "answer": 1.0}, seed=0)
    other = pipeline.task_chooser({"answer": 2.0, "transcribe": 6.0}, seed=0)
    assert list(map(choose, range(200))) == list(map(other, range(200)))


@pytest.mark.parametrize("tasks", [{"answer": 1.0}, {"answer": 1.0, "transcribe": 0.0}])
def test_a_task_without_weight_never_comes(tasks):
    assert {pipeline.task_chooser(tasks, seed=0)(i) for i in range(200)} == {"answer"}


def test_the_hash_tells_samples_apart_and_is_the_same_everywhere():
    hashes = [training()[n].sample_ids_hash for n in range(8)]
    assert len(set(hashes)) == 8
    assert hashes != [training(seed=1)[n].sample_ids_hash for n in range(8)]
    batch = training()[0]
    assert pipeline.Batch({}, batch.draws).sample_ids_hash == hashes[0]
    assert pipeline.Batch({}, batch.draws[::-1]).sample_ids_hash != hashes[0]
    made_up = pipeline.Batch({}, (pipeline.Draw(0, 3, "answer"), pipeline.Draw(1, 0, "transcribe")))
    assert made_up.sample_ids_hash == "87c84ee5126e5a67"


def test_iterating_is_asking_for_one_after_another():
    batches = training()
    with contextlib.closing(iterate(batches, start=3, ahead=4, workers=3)) as stream:
        for n, batch in enumerate(itertools.islice(stream, 12), start=3):
            assert same(batch, batches[n])


def test_iterating_stops_where_it_should():
    assert [batch.sample_ids[0] for batch in iterate(training(), start=2, stop=5, ahead=10)] == [
        8,
        12,
        16,
    ]
    assert list(iterate(training(), start=5, stop=5)) == []


def loaders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_threads_are_bounded_and_none_stays_behind():
    assert loaders() == []
    with contextlib.closing(iterate(training(), ahead=8, workers=2)) as stream:
        next(stream)
        assert 1 <= len(loaders()) <= 2
    assert loaders() == []
    for _ in iterate(training(), stop=3):
        pass
    assert loaders() == []


def test_no_more_is_made_ahead_than_asked_for():
    class Counting(Noises):
        asked = 0

        def __getitem__(self, i):
            self.asked += 1
            return super().__getitem__(i)

    source = Counting(11)
    with contextlib.closing(iterate(training(source, batch_size=1), ahead=3)) as stream:
        for _ in range(5):
            next(stream)
        for _ in range(100):
            time.sleep(0.01)
            if source.asked == 8:
                break
    assert source.asked == 8  # five taken, three waiting


def test_closing_waits_for_the_batch_in_the_making_and_makes_no_other():
    class Slow(Noises):
        asked, released = 0, threading.Event()

        def __getitem__(self, i):
            self.asked += 1
            if self.asked > 1:
                self.released.wait(timeout=10)
            return super().__getitem__(i)

    source = Slow(11)
    stream = iterate(training(source, batch_size=1), ahead=8)
    next(stream)
    timer = threading.Timer(0.3, source.released.set)
    timer.start()
    stream.close()
    timer.join()
    assert source.asked <= 2 and loaders() == []


def test_trouble_in_a_thread_surfaces_at_its_batch():
    source = Noises(11, broken=6)
    batches = training(source, batch_size=1)
    order = [training(batch_size=1)[n].draws[0].index for n in range(11)]
    taken = []
    with pytest.raises(OSError, match="clip 6 is gone"):
        for batch in iterate(batches, ahead=3):
            taken.append(batch.draws[0].index)
    assert taken == order[: order.index(6)]
    assert loaders() == []


def test_another_process_makes_the_same_batches_without_starting_processes():
    """The run's whole input is a function of config and seed; also, nothing is left running."""
    program = f"""
import sys, threading, multiprocessing
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_pipeline as t
stream = t.iterate(t.training(), stop=3)
print(*(batch.sample_ids_hash + str(batch.arrays["tokens"].sum()) for batch in stream))
assert not multiprocessing.active_children() and not t.loaders()
"""
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    here = [
        training()[n].sample_ids_hash + str(training()[n].arrays["tokens"].sum()) for n in range(3)
    ]
    assert there.stdout.split() == here


@pytest.mark.parametrize("build", [example, prompt])
@pytest.mark.parametrize("batch_size", [1, 4, 11, 20])
def test_heldout_batches_have_every_utterance_once_in_order(batch_size, build):
    batches = heldout_batches(SOURCE, RECIPE, "answer", batch_size, build)
    assert len(batches) == -(-11 // batch_size)
    seen = []
    for batch in iterate(batches):
        mask = batch.arrays["row_mask"]
        assert mask.shape == (batch_size,) and batch.arrays["audio"].shape == (
            batch_size,
            RECIPE.max_samples,
        )
        for row, draw in zip(np.flatnonzero(mask), batch.draws, strict=True):
            one = build(SOURCE[draw.index], "answer", RECIPE, draw.index)
            assert all(np.array_equal(batch.arrays[key][row], x) for key, x in one.items())
            seen.append(draw.index)
        assert (batch.arrays["sample_id"][~mask] == -1).all()
    assert seen == list(range(11))


def test_rows_that_fill_up_have_no_loss_and_look_like_speech():
    batch = heldout_batches(SOURCE, RECIPE, "answer", 4)[2]
    assert list(batch.arrays["row_mask"]) == [True, True, True, False]
    assert not batch.arrays["kind"][3].any() and not batch.arrays["targets"][3].any()
    assert batch.arrays["samples"][3] == batch.arrays["samples"][2] > 0
    assert batch.arrays["kind"][2].any()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"source": Noises(0)}, "the corpus has no utterances"),
    ({"batch_size": 0}, "batch_size=0 was given; it must be at least 1"),
    ({"tasks": {"sing": 1.0}}, "task 'sing' was given; the tasks are transcribe, answer"),
    ({"tasks": {}}, "task weights {} were given"),
    ({"tasks": {"answer": 0.0}}, "task weights {'answer': 0.0} were given"),
    ({"tasks": {"answer": 2.0, "transcribe": -1.0}}, "task weights"),
])  # fmt: skip
def test_bad_input_is_refused_before_anything_is_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        training(**arguments)


def test_a_text_that_may_not_fit_is_refused_before_anything_is_read():
    class Wordy(Noises):
        def texts(self):
            return ["one " * 50] * self.length

    with pytest.raises(
        ValueError, match=rf"takes \d+ tokens and max_tokens={RECIPE.max_tokens} was given"
    ):
        training(Wordy(3, broken=0))
    with pytest.raises(ValueError, match="the longest text of the corpus, said in 0.1 s"):
        heldout_batches(Wordy(3, broken=0), RECIPE, "transcribe", 2)


@pytest.mark.parametrize("wrong", [{"ahead": 0}, {"workers": 0}])
def test_a_loader_without_room_is_refused(wrong):
    with pytest.raises(ValueError, match="both must be at least 1"):
        next(iterate(training(), **wrong))
