"""How wrong transcripts are: edits for every word, or letter, of what was said.

Case and punctuation are no mistakes. Rates are over the whole list: all edits by all reference
words.
"""

import unicodedata
from collections.abc import Sequence

import jiwer

APOSTROPHES = "'’"


def normalise(text: str) -> str:
    """Lower case, no punctuation or symbols, single spaces; an apostrophe joins, other marks part.

    >>> normalise("It's  twenty-one, no?")
    'its twenty one no'
    """
    letters = (
        "" if letter in APOSTROPHES else " " if unicodedata.category(letter)[0] in "PS" else letter
        for letter in text.lower()
    )
    return " ".join("".join(letters).split())


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Word error rate: (substitutions + deletions + insertions) / words of the references.

    Where there is no reference word at all, each inserted word counts as one. So it can exceed 1.

    >>> wer(["one two", "three four"], ["one too", "three four"])
    0.25
    """
    return float(jiwer.wer(*_pairs(references, hypotheses)))


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Character error rate: as `wer`, of letters; the space between two words is one."""
    return float(jiwer.cer(*_pairs(references, hypotheses)))


def _pairs(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[list[str], list[str]]:
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{len(references)} references and {len(hypotheses)} transcripts were given; give one "
            "for each."
        )
    return [normalise(text) for text in references], [normalise(text) for text in hypotheses]
