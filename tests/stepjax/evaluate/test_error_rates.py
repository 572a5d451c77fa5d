import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepjax.evaluate.error_rates import cer, normalise, wer

sentences = st.lists(
    st.sampled_from(["one", "two", "Three", "four!", "fünf", "六"]), max_size=6
).map(" ".join)


def edits_ref(reference, hypothesis):
    """Least number of edits, by the definition."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    same = reference[0] == hypothesis[0]
    return min(
        edits_ref(reference[1:], hypothesis[1:]) + (not same),
        edits_ref(reference[1:], hypothesis) + 1,
        edits_ref(reference, hypothesis[1:]) + 1,
    )


@given(st.lists(st.tuples(sentences, sentences), max_size=4))
def test_the_rate_is_all_edits_by_all_words(pairs):
    references = [normalise(reference).split() for reference, _ in pairs]
    hypotheses = [normalise(hypothesis).split() for _, hypothesis in pairs]
    edits = sum(map(edits_ref, references, hypotheses))
    assert wer(*map(list, zip(*pairs, strict=True)) if pairs else ([], [])) == pytest.approx(
        edits / max(1, sum(map(len, references)))
    )


@given(st.lists(sentences, max_size=5))
def test_what_was_said_has_no_errors(texts):
    louder = [text.upper() + "?!" for text in texts]
    assert wer(texts, louder) == cer(texts, louder) == 0.0


def test_letters_by_hand():
    assert cer(["abcd"], ["abxd"]) == 0.25
    assert cer(["ab cd"], ["abcd"]) == 0.2  # the space between two words is a letter
    assert cer(["你好", "早"], ["你好", "早上"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("reference", "hypothesis", "rate"), [
    ([""], [""], 0.0), ([""], ["one two"], 2.0), (["one"], [""], 1.0), ([], [], 0.0),
    (["one", ""], ["one", "two"], 1.0), (["..."], ["!"], 0.0),
])  # fmt: skip
def test_silence_is_counted_as_the_docstring_says(reference, hypothesis, rate):
    assert wer(reference, hypothesis) == rate


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Don’t", "dont"),
        ("twenty-one", "twenty one"),
        (" a \n b ", "a b"),
        ("你好。", "你好"),
        ("5 €", "5"),
        ("", ""),
    ],
)
def test_case_and_punctuation_are_no_mistakes(text, plain):
    assert normalise(text) == plain


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(
        ValueError, match="2 references and 1 transcripts were given; give one for each"
    ):
        wer(["a", "b"], ["a"])
