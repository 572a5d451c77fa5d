"""Held-out speech is scored alike on every mesh, row by row, and only what is speech."""

import jax
import numpy as np
import pytest
import tiny_run
from flax import nnx

from stepjax.model.group import Alone
from stepjax.model.step_audio import Inputs
from stepjax.train.heldout import Heldout
from stepjax.train.objective import cross_entropy
from stepjax.train.programs import model_and_programs


def test_a_score_has_the_same_bits_on_every_mesh():
    config = tiny_run.config("lose 3 before 0")
    with tiny_run.job_on(config) as begun:
        heldout, runtime = begun.job.heldout, begun.runtime
        first = heldout.score(0, runtime)
        runtime.cluster.progress(0, "before")
        again = runtime.surviving(0, lambda n: heldout.score(n, runtime), go_back=None)
        assert again.result == first
        assert [each.lost for each in again.recovered] == [{3}]
        assert runtime.mesh.shape["data"] == 2


def test_the_loss_is_the_mean_over_the_tokens_of_the_right_transcripts():
    config = tiny_run.config()
    with tiny_run.job_on(config) as begun:
        heldout, graph = begun.job.heldout, begun.job.device.graph
        params = jax.device_get(begun.runtime.state.params)
        score = heldout.score(0, begun.runtime)

    @jax.jit
    def losses(params, rows):
        logits = nnx.merge(graph, params)(Inputs.of(rows), Alone())
        return cross_entropy(logits, rows["targets"], Alone())

    counted = heldout.right["kind"] > 0
    assert score.loss == pytest.approx(
        np.asarray(losses(params, heldout.right))[counted].mean(), rel=1e-5
    )


def test_rows_that_only_fill_a_microbatch_do_not_count():
    config = tiny_run.config(data_heldout=3)
    with tiny_run.sharing(config):
        corpus = tiny_run.corpus_of(config)
        _, programs = model_and_programs(config, corpus.recipe.vocabulary.size)
    heldout = Heldout(corpus, programs, config.data.microbatch)
    assert len(heldout.texts) == 3 and len(heldout.right["kind"]) == 4
    assert (heldout.right["kind"].max(axis=1) == [1, 1, 1, 0]).all()
