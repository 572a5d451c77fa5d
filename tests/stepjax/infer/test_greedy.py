"""Greedy answers equal a plain loop over the model, on one device and on rings."""

import jax
import numpy as np
import pytest
import tiny_model
from flax import nnx
from jax.sharding import PartitionSpec as P
from ringed import jit, on_ring, split

from stepjax.infer.greedy import argmax, greedy
from stepjax.model.group import Alone
from stepjax.model.step_audio import Inputs, StepAudio

BATCH = tiny_model.batch() | {
    "prompt_tokens": np.array([8, 5, 14], np.int32)
}  # the last has room for 2 of 16
MAX_NEW = 6
NEVER = -1


@pytest.fixture(scope="module")
def model():
    config = tiny_model.config()
    return tiny_model.filled(lambda rngs: StepAudio(config, tiny_model.VOCAB, rngs=rngs))


@pytest.fixture(scope="module")
def logits_of(model):
    return jit(lambda tokens_BL: model(Inputs.of({**BATCH, "tokens": tokens_BL}), Alone()))


def greedy_ref(logits_of, stop):
    """Row by row and token by token."""
    answers = np.full((len(BATCH["tokens"]), MAX_NEW), stop)
    for row, length in enumerate(BATCH["prompt_tokens"]):
        tokens_BL = BATCH["tokens"].copy()
        for i in range(MAX_NEW):
            if length + i > tokens_BL.shape[1]:
                break
            answers[row, i] = np.argmax(logits_of(tokens_BL)[row, length + i - 1])
            if answers[row, i] == stop:
                break
            tokens_BL[row, length + i : length + i + 1] = answers[row, i]
    return answers


@pytest.fixture(scope="module")
def endless(logits_of):
    return greedy_ref(logits_of, NEVER)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_answers_are_those_of_a_plain_loop_and_end_at_stop(model, logits_of, endless, size):
    graph, params, parts = split(model)
    assert len(np.unique(endless)) > 4  # a model with something to say

    def answer(params, batch, stops, group):
        module = nnx.merge(graph, params)
        return jax.lax.map(lambda stop: greedy(module, batch, stop, MAX_NEW, group), stops)

    stop = endless[0, 2]
    got = on_ring(answer, size, [params, BATCH, np.array([NEVER, stop])], (parts, P(), P()), P())
    np.testing.assert_array_equal(got[0], endless)
    np.testing.assert_array_equal(got[1], greedy_ref(logits_of, stop))
    assert (got[1][0, 2:] == stop).all()
    assert (
        got[0][2, 3:] == NEVER
    ).all()  # two tokens filled its row, the third had its place but no successor


@pytest.mark.parametrize("size", [1, 2, 4])
def test_of_equal_logits_the_lowest_id_wins(size):
    logits_BV = np.random.default_rng(0).integers(0, 3, size=(200, 8)).astype(np.float32)
    got = on_ring(argmax, size, [logits_BV], (P(None, "tensor"),), P())
    np.testing.assert_array_equal(got, logits_BV.argmax(axis=1))
