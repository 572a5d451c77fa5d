import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepjax.text import chat, tokenizer

TEXTS = [
    f"the {color} {animal} is {number}"
    for color in ("red", "blue")
    for animal in ("fox", "hen")
    for number in ("one", "two", "three", "four")
]
TINY = tokenizer.train(TEXTS, text_size=340, templates=chat.TEMPLATES)


@given(st.text())
def test_any_text_survives_the_round_trip(text):
    assert TINY.decode(TINY.encode(text)) == text


@given(st.lists(st.integers(-5, 1000)))
def test_any_ids_have_a_text(ids):
    known = [i for i in ids if 0 <= i < TINY.used]
    assert TINY.decode(ids) == TINY.decode(known)


@given(st.lists(st.text(max_size=20), max_size=5))
def test_all_at_once_is_the_same_as_one_by_one(texts):
    assert TINY.encode_all(texts) == [TINY.encode(text) for text in texts]


def test_the_prompts_become_few_tokens():
    rich = tokenizer.train(TEXTS * 20, text_size=400, templates=chat.TEMPLATES)
    for template in chat.TEMPLATES:
        assert len(rich.encode(template)) <= 4, template


def test_the_corpus_becomes_words():
    rich = tokenizer.train(TEXTS * 20, text_size=400, templates=chat.TEMPLATES)
    assert len(rich.encode("the red fox is three")) == 5


def test_saving_and_loading_changes_nothing(tmp_path):
    TINY.save(tmp_path / "tokenizer.json")
    again = tokenizer.load(tmp_path / "tokenizer.json", text_size=340)
    assert (again.text_size, again.used) == (TINY.text_size, TINY.used)
    for text in [*TEXTS, *chat.TEMPLATES, "é🙂\n  x"]:
        assert again.encode(text) == TINY.encode(text)
        assert again.decode(TINY.encode(text)) == text


def test_another_process_learns_the_same_tokens(tmp_path):
    program = (
        "import sys; from stepjax.text import chat, tokenizer\n"
        f"tokenizer.train({TEXTS!r}, 340, chat.TEMPLATES).save(sys.argv[1])"
    )
    root = pathlib.Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "there"], check=True, timeout=60, cwd=root
    )
    TINY.save(tmp_path / "here")
    assert (tmp_path / "here").read_text() == (tmp_path / "there").read_text()


def test_a_small_corpus_leaves_ids_unused():
    small = tokenizer.train(["aa aa"], text_size=400)
    assert small.text_size == 400
    assert small.used + small.unused == 400 and small.unused > 100
    assert max(small.encode("anything at all")) < small.used


def test_no_corpus_at_all_still_gives_bytes():
    assert tokenizer.train([], text_size=256).decode(range(ord("!") - ord("!"), 3)) == '!"#'


def test_too_few_ids_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="text_size=255 was given; text needs at least 256 ids"):
        tokenizer.train(TEXTS, text_size=255)


def test_loading_into_a_smaller_text_block_is_refused(tmp_path):
    TINY.save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="has 340 tokens, text_size=300 was given"):
        tokenizer.load(tmp_path / "tokenizer.json", text_size=300)
