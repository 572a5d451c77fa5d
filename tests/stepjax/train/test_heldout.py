"""Held-out speech is scored alike on every mesh, row by row, and only what is speech."""

import jax
import numpy as np
import pytest
import tiny_run
from flax import nnx

from stepjax.model.group import Alone
from stepjax.model.step_audio import Inputs
from stepjax.train import corpus as corpora
from stepjax.train.heldout import Heldout
from stepjax.train.objective import cross_entropy


def corpus_of(config) -> corpora.Corpus:
    return tiny_run.corpus_of(config)


def heldout_of(trainer, config) -> Heldout:
    return Heldout(corpus_of(config), trainer, config.data.microbatch)


def test_a_score_has_the_same_bits_on_every_mesh():
    config = tiny_run.config("lose 3 before 0")
    with tiny_run.trainer_on(config) as trainer:
        heldout = heldout_of(trainer, config)
        first = heldout.score(0)
        trainer.cluster.reach(0, "before")
        trainer.recover(0, after_failure=True)
        assert heldout.score(0) == first


def test_the_loss_is_the_mean_over_the_tokens_of_the_right_transcripts():
    config = tiny_run.config()
    with tiny_run.trainer_on(config) as trainer:
        heldout, graph, params = (
            heldout_of(trainer, config),
            trainer.step.graph,
            jax.device_get(trainer.state[0]),
        )
        score = heldout.score(0)

    @jax.jit
    def losses(params, rows):
        logits = nnx.merge(graph, params)(Inputs.of(rows), Alone())
        return cross_entropy(logits, rows["targets"], Alone())

    counted = heldout.right["kind"] > 0
    assert score.loss == pytest.approx(
        np.asarray(losses(params, heldout.right))[counted].mean(), rel=1e-5
    )


def test_rows_that_only_fill_a_microbatch_do_not_count():
    with tiny_run.trainer_on(tiny_run.config()) as trainer:
        heldout = heldout_of(trainer, tiny_run.config(data_heldout=3))
    assert len(heldout.texts) == 3 and len(heldout.right["kind"]) == 4
    assert (heldout.right["kind"].max(axis=1) == [1, 1, 1, 0]).all()
