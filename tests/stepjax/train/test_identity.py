"""A workdir belongs to one run: whatever would change its numbers is refused by its name."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_run

from stepjax import numerics
from stepjax.disk import checkpoint
from stepjax.train import corpus, identity

WORDS = ("one", "two", "three", "four")


@pytest.fixture(scope="module")
def recipe():
    return tiny_run.corpus_of(tiny_run.config()).recipe


def take_up(workdir: Path, recipe, **changes):
    config = tiny_run.config(**changes)
    return identity.take_up(workdir, config, corpus.open_splits(config.data), lambda: recipe)


def begin(workdir: Path, recipe, **changes) -> None:
    """A run that has saved something."""
    take_up(workdir, recipe, **changes)
    checkpoint.write(workdir / "checkpoints/0", {"exponents": np.zeros(2, np.int32)})


def never():
    raise AssertionError("fitted again")


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Twenty noises of four words."""
    rng, lines = np.random.default_rng(0), []
    for i in range(20):
        noise = 0.1 * rng.normal(size=8000 + 400 * i)
        soundfile.write(tmp_path / f"{i}.wav", noise, 16_000)
        lines.append({"audio": f"{i}.wav", "text": WORDS[i % 4]})
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def of(manifest: Path) -> dict:
    return {
        "data_kind": "manifest", "data_manifest": str(manifest), "data_heldout_share": 0.3,
        "data_cache": str(manifest.parent / "cache"),
    }  # fmt: skip


def refusal(workdir, recipe, **changes) -> str:
    with pytest.raises(ValueError) as refused:
        take_up(workdir, recipe, **changes)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"optimizer_learning_rate": 0.5}, "optimizer.learning_rate=0.002, and now it is 0.5"),
        ({"seed": 1}, "seed=0, and now it is 1"),
        ({"mesh_tensor": 2}, "mesh.tensor=4, and now it is 2"),
        (
            {"data_tasks": {"transcribe": 1.0, "answer": 2.0}},
            "data.tasks.answer=1.0, and now it is 2.0",
        ),
    ],
)
def test_the_folder_of_a_run_that_would_train_differently_is_refused(
    tmp_path, recipe, changes, named
):
    begin(tmp_path, recipe)
    assert refusal(tmp_path, recipe, **changes) == (
        f"{tmp_path} holds a run with {named}; use another --workdir, or the old value to resume."
    )


def test_what_leaves_the_trajectory_alone_may_change(tmp_path, recipe):
    begin(tmp_path, recipe)
    free = {"checkpoint_every": 5, "evaluate_every": 2, "optimizer_give_up_after": 9}
    take_up(tmp_path, recipe, faults="lose 1 before 2", **free)
    assert json.loads((tmp_path / "config.json").read_text())["checkpoint"]["every"] == 5
    take_up(tmp_path, recipe)


def test_a_run_that_goes_on_loads_its_recipe_and_fits_none(tmp_path, recipe):
    begin(tmp_path, recipe)
    config = tiny_run.config()
    kept = identity.take_up(tmp_path, config, corpus.open_splits(config.data), never)
    assert (kept.codec.centroids_KM == recipe.codec.centroids_KM).all()
    assert kept.tokenizer.encode("one two") == recipe.tokenizer.encode("one two")


def test_lines_that_were_added_to_a_manifest_are_refused(tmp_path, recipe, manifest):
    workdir = tmp_path / "run"
    begin(workdir, recipe, **of(manifest))
    take_up(workdir, recipe, **of(manifest))
    soundfile.write(manifest.parent / "new.wav", np.full(8000, 0.1), 16_000)
    with open(manifest, "a") as file:
        file.write(json.dumps({"audio": "new.wav", "text": "five"}) + "\n")
    assert " holds a run whose corpus." in refusal(workdir, recipe, **of(manifest))


def test_a_text_that_was_changed_is_refused(tmp_path, recipe, manifest):
    workdir = tmp_path / "run"
    begin(workdir, recipe, **of(manifest))
    manifest.write_text(manifest.read_text().replace("three", "tree"))
    assert "entries was '" in refusal(workdir, recipe, **of(manifest))


def test_a_recording_that_was_changed_in_its_place_is_refused(tmp_path, recipe, manifest):
    workdir = tmp_path / "run"
    begin(workdir, recipe, **of(manifest))
    path = manifest.parent / "7.wav"
    audio, rate = soundfile.read(path, dtype="int16")
    audio[100] ^= 1
    soundfile.write(path, audio, rate)
    said = refusal(workdir, recipe, **of(manifest))
    assert "recordings was '" in said and "put back what it was trained on to resume" in said


def test_a_corpus_may_move(tmp_path, recipe, manifest):
    workdir = tmp_path / "run"
    begin(workdir, recipe, **of(manifest))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in [*manifest.parent.glob("*.wav"), manifest]:
        path.rename(moved / path.name)
    before = (workdir / "identity.json").read_bytes()
    take_up(workdir, recipe, **of(moved / manifest.name))
    assert (workdir / "identity.json").read_bytes() == before


@pytest.mark.parametrize("name, cure", [
    ("recipe", "put back its recipe"),
    ("settings.XLA_FLAGS", "the old value"),
    ("settings.jax_enable_x64", "the old value"),
    ("software.jax", "install the old version"),
    ("machine.platform", "go back to such a machine"),
    ("corpus.train.engine", "put back what it was trained on"),
])  # fmt: skip
def test_each_part_of_an_identity_is_refused_by_its_name(tmp_path, recipe, name, cure):
    begin(tmp_path, recipe)
    path = tmp_path / "identity.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {name: "another"}))
    assert refusal(tmp_path, recipe) == (
        f"{tmp_path} holds a run whose {name} was 'another', and now it is {known[name]!r}; use "
        f"another --workdir, or {cure} to resume."
    )


def test_what_an_identity_did_not_know_is_refused_too(tmp_path, recipe):
    begin(tmp_path, recipe)
    path = tmp_path / "identity.json"
    known = json.loads(path.read_text())
    del known["software.optax"]
    path.write_text(json.dumps(known))
    assert "whose software.optax was None, and now it is '" in refusal(tmp_path, recipe)


@pytest.mark.parametrize("name", ["config.json", "identity.json", "recipe"])
def test_what_a_run_that_has_begun_must_have_is_named_where_it_is_missing(tmp_path, recipe, name):
    begin(tmp_path, recipe)
    (tmp_path / name).rename(tmp_path / "away")
    said = refusal(tmp_path, recipe)
    assert str(tmp_path / name) in said and ("cannot be read" in said or "is missing" in said)


@pytest.mark.parametrize("name", ["config.json", "identity.json"])
def test_what_was_cut_off_is_named(tmp_path, recipe, name):
    begin(tmp_path, recipe)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} is damaged, since it is not whole JSON" in refusal(tmp_path, recipe)


def test_a_run_that_was_killed_before_it_saved_anything_begins_anew(tmp_path, recipe):
    take_up(tmp_path, recipe)
    (tmp_path / "identity.json").unlink()
    take_up(tmp_path, recipe)
    assert (tmp_path / "identity.json").exists()


def test_a_recipe_that_a_killed_process_fitted_to_another_corpus_is_fitted_anew(tmp_path, recipe):
    take_up(tmp_path, recipe)
    (tmp_path / "identity.json").unlink()
    longer = dataclasses.replace(recipe, max_tokens=recipe.max_tokens + 1)
    assert take_up(tmp_path, longer).max_tokens == recipe.max_tokens + 1


def test_a_refused_start_leaves_the_config_as_it_was(tmp_path, recipe):
    begin(tmp_path, recipe)
    path = tmp_path / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"software.jax": "another"}))
    before = (tmp_path / "config.json").read_bytes()
    assert "software.jax" in refusal(tmp_path, recipe, faults="lose 1 before 2")
    assert (tmp_path / "config.json").read_bytes() == before


def test_equal_runs_have_equal_identities(tmp_path, recipe):
    for name in ("a", "b"):
        take_up(tmp_path / name, recipe)
    first, second = ((tmp_path / name / "identity.json").read_text() for name in ("a", "b"))
    assert first == second and set(numerics.facts()) < set(json.loads(first))


def test_a_node_that_would_calculate_otherwise_is_refused(tmp_path, recipe, monkeypatch):
    take_up(tmp_path, recipe)
    identity.check_here(tmp_path)
    facts = numerics.facts() | {"machine.cpu": "x86_64 avx"}
    monkeypatch.setattr(numerics, "facts", lambda: facts)
    with pytest.raises(ValueError, match="machine.cpu is 'x86_64 avx' on this node, and 'x86_64 "):
        identity.check_here(tmp_path)
