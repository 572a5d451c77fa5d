"""A recipe comes back as it was saved, and a damaged one is named."""

import dataclasses
import json

import numpy as np
import pytest
from small_disk import KB, small_disk

from stepjax import recipe as recipes
from stepjax.codec import kmeans
from stepjax.disk.files import Unwritable
from stepjax.recipe import Recipe
from stepjax.text import chat, tokenizer
from stepjax.text.vocabulary import Vocabulary

TEXTS = ["one two", "three", "two two two three one"]
NOISE = (np.random.default_rng(0).normal(size=16000) * 0.1).astype(np.float32)
RECIPE = Recipe(
    tokenizer.train(TEXTS, text_size=300, templates=chat.TEMPLATES),
    Vocabulary(text_size=300, audio_codes=8, multiple=64),
    kmeans.fit([NOISE], num_codes=8, seed=0),
    max_seconds=1.5,
    max_tokens=96,
    max_text=7,
)
FILES = ("recipe.json", "tokenizer.json", "codec.npz", "checksums.json")


@pytest.fixture
def folder(tmp_path):
    RECIPE.save(tmp_path / "recipe")
    return tmp_path / "recipe"


def test_what_was_saved_comes_back(folder):
    loaded = Recipe.load(folder)
    for field in ("vocabulary", "max_seconds", "max_tokens", "max_text", "max_samples"):
        assert getattr(loaded, field) == getattr(RECIPE, field)
    for text in (*TEXTS, "four", "\u4e8c"):
        assert loaded.tokenizer.encode(text) == RECIPE.tokenizer.encode(text)
    assert loaded.tokenizer.text_size == 300
    assert (loaded.codec.encode(NOISE) == RECIPE.codec.encode(NOISE)).all()


def test_equal_recipes_have_equal_files(folder, tmp_path):
    Recipe.load(folder).save(tmp_path / "again")
    for name in FILES:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_recipe_is_refused_by_name(folder, name, damage):
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{folder}.*put back a copy of {folder}") as refusal:
        Recipe.load(folder)
    assert name == "checksums.json" or str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("size", [4, 8, 12, 20])
def test_a_full_disk_is_named_whatever_it_hits(tmp_path, size):
    with small_disk(tmp_path / "disk", size * KB) as disk:
        with pytest.raises(Unwritable, match=f"^{disk}/recipe cannot be written .No space left"):
            RECIPE.save(disk / "recipe")
        assert not list(disk.iterdir())


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}/recipe is missing, .* put back a copy"):
        Recipe.load(tmp_path / "recipe")


def test_a_recipe_of_another_front_end_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(recipes.MEL, "hop", 200)
        RECIPE.save(tmp_path / "recipe")
    assert json.loads((tmp_path / "recipe/recipe.json").read_text())["mel"]["hop"] == 200
    with pytest.raises(ValueError, match="with hop=200, and this version makes them with hop=160"):
        Recipe.load(tmp_path / "recipe")


@pytest.mark.parametrize(("change", "message"), [
    ({"vocabulary": Vocabulary(300, 9)}, "300 text ids and 9 audio codes was given with a token"),
    ({"vocabulary": Vocabulary(301, 8)}, "a vocabulary of 301 text ids"),
    ({"max_seconds": 25.5}, "max_seconds=25.5 was given; an utterance is one block of speech"),
    ({"max_seconds": 0}, "max_seconds=0 was given"),
])  # fmt: skip
def test_parts_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)
