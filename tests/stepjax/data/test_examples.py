import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepjax.audio import mel
from stepjax.codec import kmeans
from stepjax.data.examples import example, max_tokens, num_patches, prompt
from stepjax.data.utterances import Utterance
from stepjax.recipe import Recipe
from stepjax.text import chat, tokenizer
from stepjax.text.interleave import deinterleave, interleave
from stepjax.text.vocabulary import Vocabulary

TEXTS = ["one two", "three", "two two two three one"]
MAX_SECONDS = 1.0


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32) * 0.1


TOKENIZER = tokenizer.train(TEXTS, text_size=400, templates=chat.TEMPLATES)
VOCABULARY = Vocabulary(text_size=400, audio_codes=8, multiple=64)
CODEC = kmeans.fit([noise(16000)], num_codes=8, seed=0)
LIMIT = max_tokens(MAX_SECONDS, ["transcribe", "answer"], TOKENIZER, VOCABULARY, TEXTS, multiple=8)
RECIPE = Recipe(TOKENIZER, VOCABULARY, CODEC, MAX_SECONDS, LIMIT, max_text=5)


def said(text, samples):
    return Utterance("clip-1", noise(samples), text, "a", "en")


utterances = st.builds(said, st.sampled_from(TEXTS), st.integers(1, 16000))
tasks = st.sampled_from(["transcribe", "answer"])


@pytest.mark.parametrize(
    ("samples", "patches"),
    [
        (400, 1),
        (800, 1),
        (1600, 1),
        (4000, 3),
        (8000, 6),
        (12000, 10),
        (16000, 13),
        (24000, 19),
        (32000, 25),
        (48000, 38),
        (80000, 63),
        (160000, 125),
        (400000, 313),
        (479680, 375),
        (1, 1),
    ],
)
def test_patches_are_those_of_the_published_model(samples, patches):
    assert num_patches(samples) == patches


def test_the_adaptor_has_a_frame_for_every_patch():
    for samples in range(1, 60_000, 7):
        after_conv = (mel.num_frames(samples) - 1) // 2 + 1
        adaptor_frames = (after_conv // 2 - 1) // 2 + 1
        assert num_patches(samples) <= adaptor_frames


def test_a_transcription_by_hand():
    v, t = VOCABULARY, TOKENIZER.encode
    one = example(said("one two", 4000), "transcribe", RECIPE, sample_id=7)
    before = [
        v.bot,
        *t("system\n" + chat.ASR_PROMPT),
        v.eot,
        v.bot,
        *t("human\n"),
        v.audio_start,
        *[v.audio_patch] * 3,
        v.audio_end,
        v.eot,
        v.bot,
        *t("assistant\n"),
    ]
    answer = [*t("one two"), v.eot]
    row, L = before + answer, RECIPE.max_tokens
    assert list(one["tokens"]) == row[:-1] + [v.endoftext] * (L - len(row) + 1)
    silent = [0] * (len(before) - 1)
    assert list(one["targets"]) == silent + answer + [0] * (L - len(row) + 1)
    assert list(one["kind"]) == silent + [1] * len(answer) + [0] * (L - len(row) + 1)
    patch = row.index(v.audio_patch)
    assert list(one["audio_at"]) == [-1] * patch + [0, 1, 2] + [-1] * (L - patch - 3)
    assert (one["samples"], one["sample_id"]) == (4000, 7)
    assert np.array_equal(one["audio"], np.concatenate([noise(4000), np.zeros(12000, np.float32)]))


def test_a_spoken_answer_by_hand():
    v, utterance = VOCABULARY, said("three", 4000)
    one = example(utterance, "answer", RECIPE)
    answer = one["targets"][one["kind"] > 0]
    text, codes = TOKENIZER.encode("three"), CODEC.encode(utterance.audio)
    assert list(answer) == [v.tts_start, *interleave(text, codes, v), v.tts_end, v.eot]
    assert deinterleave(answer[1:-2], v) == (text, list(codes))
    assert list(one["kind"][one["kind"] > 0]) == [2 if v.is_audio(token) else 1 for token in answer]
    system = [v.bot, *TOKENIZER.encode("system\n" + chat.SPOKEN_ANSWER_PROMPT), v.eot]
    assert list(one["tokens"][: len(system)]) == system


@given(utterances, tasks)
def test_every_target_is_the_next_token(utterance, task):
    one = example(utterance, task, RECIPE)
    learned = np.flatnonzero(one["kind"])
    assert np.array_equal(
        learned, np.arange(learned[0], learned[-1] + 1)
    )  # one stretch, to the end of the turn
    assert np.array_equal(one["tokens"][learned[1:]], one["targets"][learned[:-1]])
    assert one["targets"][learned[-1]] == VOCABULARY.eot
    assert not one["targets"][one["kind"] == 0].any()


@given(utterances, tasks)
def test_patches_count_up_between_their_marks(utterance, task):
    one = example(utterance, task, RECIPE)
    at = np.flatnonzero(one["audio_at"] >= 0)
    assert np.array_equal(one["audio_at"][at], np.arange(num_patches(len(utterance.audio))))
    assert np.array_equal(at, at[0] + np.arange(len(at)))
    assert (one["tokens"][at] == VOCABULARY.audio_patch).all()
    assert (
        one["tokens"][at[0] - 1] == VOCABULARY.audio_start
        and one["tokens"][at[-1] + 1] == VOCABULARY.audio_end
    )


@given(utterances, tasks)
def test_a_prompt_is_the_example_up_to_its_answer(utterance, task):
    asked, full = prompt(utterance, task, RECIPE, 3), example(utterance, task, RECIPE, 3)
    length = asked["prompt_tokens"]
    assert length == np.flatnonzero(full["kind"])[0] + 1
    assert np.array_equal(asked["tokens"][:length], full["tokens"][:length])
    assert (asked["tokens"][length:] == VOCABULARY.endoftext).all()
    for key in ("audio", "samples", "audio_at", "sample_id"):
        assert np.array_equal(asked[key], full[key])


@given(utterances, tasks)
def test_shapes_and_types_are_always_the_same(utterance, task):
    one = example(utterance, task, RECIPE)
    assert {key: (x.shape, x.dtype) for key, x in one.items()} == {
        "audio": ((16000,), np.float32), "samples": ((), np.int32), "sample_id": ((), np.int32),
        **{key: ((LIMIT,), np.int32) for key in ("tokens", "targets", "kind", "audio_at")},
    }  # fmt: skip


def test_the_longest_example_just_fits():
    longest = said(max(TEXTS, key=lambda text: len(TOKENIZER.encode(text))), 16000)
    needed = max_tokens(MAX_SECONDS, ["answer"], TOKENIZER, VOCABULARY, TEXTS)
    exact = dataclasses.replace(RECIPE, max_tokens=needed)
    assert example(longest, "answer", exact)["kind"][-1] == 1  # the last place is used
    assert LIMIT % 8 == 0 and LIMIT - needed < 8
    with pytest.raises(
        ValueError,
        match=f"'clip-1' has 16000 samples and {needed} tokens; .* leave it out or raise",
    ):
        example(longest, "answer", dataclasses.replace(RECIPE, max_tokens=needed - 1))


def test_speech_that_is_too_long_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"utterance 'clip-1' has 16001 samples .* 16000 \(max_seconds=1\)"
    ):
        prompt(said("one", 16001), "transcribe", RECIPE)


def test_a_transcript_cannot_end_its_turn():
    one = example(said("<|EOT|>", 800), "transcribe", RECIPE)
    assert list(one["targets"]).count(VOCABULARY.eot) == 1


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task 'sing' was given; the tasks are transcribe, answer"):
        example(said("one", 800), "sing", RECIPE)
