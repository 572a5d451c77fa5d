"""An utterance and a task become an example: arrays of fixed shape, by pure functions.

 tokens    BOT system prompt EOT  BOT human start patch patch end EOT  BOT assistant one two | pad
 targets                                                                         one two EOT |   0
 kind       0 ......................................................... 0          1   1   1 |   0
 audio_at  -1 ............................. -1     0     1    -1 ........................ -1 |  -1

T samples   L tokens   keys of an example:
  audio [T] float32    speech at 16 kHz, zeros after it
  samples [] int32     how many of them are speech
  tokens [L] int32     what the decoder reads, filled up with endoftext
  targets [L] int32    the next token, 0 where there is no loss
  kind [L] int32       loss of a target: 0 none, 1 text, 2 audio; only the assistant's part has one
  audio_at [L] int32   adaptor frame that stands in for the token's embedding, -1 for none
  sample_id [] int32   which sample of the run this is
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from stepjax.audio import mel
from stepjax.codec.codec import code_length
from stepjax.data.utterances import Utterance
from stepjax.recipe import Recipe
from stepjax.text import chat
from stepjax.text.interleave import interleave
from stepjax.text.tokenizer import Tokenizer
from stepjax.text.vocabulary import Vocabulary

TEXT, AUDIO = 1, 2  # kinds of targets; 0 is no loss


@dataclasses.dataclass(frozen=True)
class Task:
    """What to do with speech: the system prompt, and whether the answer is spoken too."""

    prompt: str
    spoken: bool


TASKS = {
    "transcribe": Task(chat.ASR_PROMPT, spoken=False),
    "answer": Task(chat.SPOKEN_ANSWER_PROMPT, spoken=True),
}


def num_patches(samples: int) -> int:
    """Adaptor frames that stand for `samples` samples: 12.5 a second, at least one.

    The rule of the published model: of the T mel frames T - 2 count, pooled by 4, then by 2.

    >>> [num_patches(samples) for samples in (400, 1_600, 4_000, 16_000, 400_000)]
    [1, 1, 3, 13, 313]
    """
    pooled = (mel.num_frames(samples) - 2 + 1) // 2 // 2
    return max(1, (pooled - 1) // 2 + 1)


def max_tokens(
    max_seconds: float,
    tasks: Iterable[str],
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    multiple: int = 1,
) -> int:
    """Tokens of the longest example, rounded up: the longest of `texts` said in `max_seconds`.

    Nothing that these texts say in that time can be longer, whatever the task.
    """
    samples = int(max_seconds * mel.SAMPLE_RATE)
    text = [0] * max(map(len, tokenizer.encode_all(texts)), default=0)
    codes = [0] * code_length(samples)
    longest = 0
    for task in map(task_named, tasks):
        before = prompt_ids(task, samples, tokenizer, vocabulary)
        after = answer_ids(task, text, codes, vocabulary)
        longest = max(longest, len(before) + len(after) - 1)  # the last token is only a target
    return -(-longest // multiple) * multiple


def task_named(name: str) -> Task:
    if name not in TASKS:
        raise ValueError(f"task {name!r} was given; the tasks are {', '.join(TASKS)}.")
    return TASKS[name]


def prompt_ids(task: Task, samples: int, tokenizer: Tokenizer, vocabulary: Vocabulary) -> list[int]:
    """All that comes before the answer."""
    turns = [
        {"role": "system", "content": task.prompt},
        {"role": "user", "content": [{"type": "audio", "frames": num_patches(samples)}]},
        {"role": "assistant", "content": None},
    ]
    return chat.encode_chat(turns, tokenizer, vocabulary)


def answer_ids(
    task: Task, text: Sequence[int], codes: Sequence[int], vocabulary: Vocabulary
) -> list[int]:
    """The words, or the words interleaved with their sound, to the end of the turn."""
    if not task.spoken:
        return [*text, vocabulary.eot]
    return [
        vocabulary.tts_start,
        *interleave(text, codes, vocabulary),
        vocabulary.tts_end,
        vocabulary.eot,
    ]


def example(
    utterance: Utterance, task: str, recipe: Recipe, sample_id: int = 0
) -> dict[str, np.ndarray]:
    """The utterance heard, and the right answer to it."""
    ask = task_named(task)
    codes = recipe.codec.encode(utterance.audio) if ask.spoken else []
    before = prompt_ids(ask, len(utterance.audio), recipe.tokenizer, recipe.vocabulary)
    after = answer_ids(ask, recipe.tokenizer.encode(utterance.text), codes, recipe.vocabulary)
    row = np.array([*before, *after], np.int32)
    arrays = _heard(utterance, row[:-1], recipe, sample_id)
    target = slice(len(before) - 1, len(row) - 1)
    first_code = recipe.vocabulary.audio(0)
    arrays["targets"], arrays["kind"] = np.zeros((2, recipe.max_tokens), np.int32)
    arrays["targets"][target] = row[len(before) :]
    arrays["kind"][target] = np.where(row[len(before) :] >= first_code, AUDIO, TEXT)
    return arrays


def prompt(
    utterance: Utterance, task: str, recipe: Recipe, sample_id: int = 0
) -> dict[str, np.ndarray]:
    """The utterance heard, without answer and targets; an answer begins at `prompt_tokens` []."""
    before = prompt_ids(task_named(task), len(utterance.audio), recipe.tokenizer, recipe.vocabulary)
    arrays = _heard(utterance, np.array(before, np.int32), recipe, sample_id)
    return arrays | {"prompt_tokens": np.int32(len(before))}


def _heard(
    utterance: Utterance, row: np.ndarray, recipe: Recipe, sample_id: int
) -> dict[str, np.ndarray]:
    """The arrays that a model reads, filled up to their fixed shapes."""
    samples = len(utterance.audio)
    if samples > recipe.max_samples or len(row) > recipe.max_tokens:
        raise ValueError(
            f"utterance {utterance.name!r} has {samples} samples and {len(row)} tokens; the limits "
            f"are {recipe.max_samples} (max_seconds={recipe.max_seconds:g}) and "
            f"max_tokens={recipe.max_tokens}; leave it out or raise them."
        )
    audio_T = np.zeros(recipe.max_samples, np.float32)
    audio_T[:samples] = utterance.audio
    tokens_L = np.full(recipe.max_tokens, recipe.vocabulary.endoftext, np.int32)
    tokens_L[: len(row)] = row
    patch_L = tokens_L == recipe.vocabulary.audio_patch
    return {
        "audio": audio_T,
        "samples": np.int32(samples),
        "tokens": tokens_L,
        "audio_at": np.where(patch_L, np.cumsum(patch_L) - 1, -1).astype(np.int32),
        "sample_id": np.int32(sample_id),
    }
