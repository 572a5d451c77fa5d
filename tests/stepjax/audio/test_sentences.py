"""Every sentence of every grammar: the worlds are small enough to look at all of them."""

import pytest

from stepjax.audio import sentences
from stepjax.audio.sentences import Grammar, grammar


@pytest.mark.parametrize("language", sentences.GRAMMARS)
def test_every_number_is_another_sentence_of_3_to_6_words(language):
    spoken = [grammar(language).sentence(k) for k in range(len(grammar(language)))]
    assert len(set(spoken)) == len(spoken) > 1000
    assert {len(sentence.split()) for sentence in spoken} <= {3, 4, 5, 6}
    assert not any(
        word.isupper() for sentence in spoken for word in sentence.split()
    )  # a rule left unexpanded


def test_numbers_count_through_the_last_word_first():
    rules = Grammar("SENTENCE: A B | end\nA: 0 | 1 | 2\nB: x | y B2\nB2: p | q")
    assert len(rules) == 3 * 3 + 1
    assert [rules.sentence(k) for k in range(10)] == [
        "0 x",
        "0 y p",
        "0 y q",
        "1 x",
        "1 y p",
        "1 y q",
        "2 x",
        "2 y p",
        "2 y q",
        "end",
    ]


@pytest.mark.parametrize("k", [-1, 2])
def test_there_is_no_sentence_outside(k):
    with pytest.raises(IndexError, match=f"sentence {k} of a grammar that has 2"):
        Grammar("SENTENCE: yes | no").sentence(k)


def test_an_unknown_language_names_the_known_ones():
    with pytest.raises(
        ValueError, match="language 'tlh' has no grammar here: choose among en, de, fr, es, it, nl"
    ):
        grammar("tlh")
