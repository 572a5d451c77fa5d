"""A run can be opened by who has its folder; what is damaged in it is named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import begun
import numpy as np
import pytest
import tiny_run
from flax import nnx

from stepjax.disk.checkpoint import named
from stepjax.infer.load import load
from stepjax.train.programs import model_and_programs

ROOT = Path(__file__).parents[3]

ALONE = """
import sys
from stepjax.infer.load import load
model, recipe = load(sys.argv[1])
loaded = [name for name in sys.modules if name.startswith(("stepjax.train", "parallel"))]
assert not loaded, loaded
print(recipe.vocabulary.size, model.head_DV.shape)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    begun.run(workdir, tiny_run.config())
    return workdir


@pytest.fixture
def workdir(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def test_the_model_has_the_weights_of_the_run(workdir):
    model, recipe = load(workdir)
    make_state, _ = model_and_programs(tiny_run.config(), recipe.vocabulary.size)
    found = named(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    wanted = named(make_state().params)
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        np.testing.assert_array_equal(found[name], x)


def test_neither_the_trainer_nor_the_corpus_is_needed(workdir):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(workdir)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    size = load(workdir).recipe.vocabulary.size
    assert done.stdout.split() == [str(size), "(16,", f"{size})"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} holds no run, since config.json is missing"):
        load(tmp_path)


def test_a_run_that_has_saved_nothing_is_named(workdir):
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(ValueError, match="checkpoints holds no checkpoint yet"):
        load(workdir)


def test_a_config_that_was_cut_off_is_named(workdir):
    path = workdir / "config.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{path} is damaged, since it is not whole JSON"):
        load(workdir)


def test_a_damaged_checkpoint_is_passed_over_aloud_for_an_older_one(workdir, caplog):
    shutil.copytree(workdir / "checkpoints/0", workdir / "checkpoints/3")
    (workdir / "checkpoints/3/arrays.json").write_text("{}")
    load(workdir)
    assert "checkpoints/3/arrays.json is not what was written; the checkpoint of step 0 serves" in (
        caplog.text
    )


def test_a_checkpoint_of_another_model_is_named(workdir):
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"adaptor_hidden": 16', '"adaptor_hidden": 24'))
    with pytest.raises(ValueError, match=r"has params/adaptor/.* the model of this config has it"):
        load(workdir)
