"""What a model hears in recordings, as text: greedy answers to the task "transcribe".

M microbatches   b rows of one   N tokens of an answer
"""

from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx

from stepjax.data.examples import prompt
from stepjax.data.utterances import Utterance
from stepjax.infer.greedy import greedy
from stepjax.infer.load import Loaded
from stepjax.model.group import Alone, Group
from stepjax.model.step_audio import StepAudio
from stepjax.numerics import REPRODUCIBLE
from stepjax.recipe import Recipe

SPARE_TOKENS = 4  # an answer may be this much longer than the longest text of the corpus
READ = (
    "audio",
    "samples",
    "tokens",
    "audio_at",
    "prompt_tokens",
)  # what `greedy` reads of a prompt
MICROBATCHES = 2  # heard at once: of one, XLA would take the loop's body out of the loop


def max_new(recipe: Recipe) -> int:
    """Tokens that a transcript may have."""
    return recipe.max_text + SPARE_TOKENS


def answers(model: StepAudio, batch, recipe: Recipe, group: Group):
    """Greedy answers [M, b, N] to the prompts of `batch`, whose arrays are [M, b, ...]."""
    stop, new = recipe.vocabulary.eot, max_new(recipe)
    return jax.lax.map(lambda micro: greedy(model, micro, stop, new, group), batch)


def text_of(answer: Sequence[int], recipe: Recipe) -> str:
    """The text of an answer, up to the mark that ends it."""
    stop = recipe.vocabulary.eot
    said = answer[: answer.index(stop)] if stop in answer else answer
    return recipe.tokenizer.decode(said)


class Transcriber:
    """A loaded model and its compiled program, for up to `at_once` recordings at a time.

    Args:  rows: of a microbatch. With as many as the run trained with, on one device, the texts are
           those that the run was scored by.
    """

    def __init__(self, loaded: Loaded, rows: int):
        self.recipe, self._rows, self.at_once = loaded.recipe, rows, MICROBATCHES * rows
        graph, self._params = nnx.split(loaded.model)
        self._run = jax.jit(
            lambda params, batch: answers(nnx.merge(graph, params), batch, self.recipe, Alone()),
            compiler_options=REPRODUCIBLE.get(jax.default_backend()),
        )

    def texts(self, utterances: Sequence[Utterance]) -> list[str]:
        """What is said in each.

        Raises: ValueError for one that is longer than `recipe.max_seconds`.
        """
        made = [prompt(utterance, "transcribe", self.recipe) for utterance in utterances]
        made += made[-1:] * (self.at_once - len(made))
        batch = {name: np.stack([one[name] for one in made]) for name in READ}
        split = {
            name: x.reshape(MICROBATCHES, self._rows, *x.shape[1:]) for name, x in batch.items()
        }
        answers_MbN = np.asarray(self._run(self._params, split))
        rows = answers_MbN.reshape(self.at_once, -1)[: len(utterances)]
        return [text_of(row, self.recipe) for row in rows.tolist()]
