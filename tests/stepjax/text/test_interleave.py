import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepjax.text.interleave import deinterleave, interleave, num_chunks
from stepjax.text.vocabulary import Vocabulary

TINY = Vocabulary(text_size=300, audio_codes=16)
texts = st.lists(st.integers(0, 299), max_size=12)
speech = st.lists(st.integers(0, 15), max_size=40)


def interleave_ref(text, codes, vocabulary):
    """Chunk by chunk, as a reader would do it by hand."""
    text, audio = list(text), [vocabulary.audio(code) for code in codes]
    row = []
    while text or audio:
        row.append(text.pop(0) if text else vocabulary.tts_pad)
        for _ in range(4):
            row.append(audio.pop(0) if audio else vocabulary.audio_pad)
    return row


@given(texts, speech)
def test_it_equals_the_plain_twin(text, codes):
    assert interleave(text, codes, TINY) == interleave_ref(text, codes, TINY)


@given(texts, speech)
def test_the_inverse_gives_both_streams_back(text, codes):
    row = interleave(text, codes, TINY)
    assert deinterleave(row, TINY) == (text, codes)
    assert TINY.split([TINY.tts_start, *row, TINY.tts_end, TINY.eot]) == (text, codes)


@given(texts, speech)
def test_every_chunk_is_one_text_and_four_audio_tokens(text, codes):
    row = interleave(text, codes, TINY)
    assert len(row) == 5 * num_chunks(len(text), len(codes))
    for position, token in enumerate(row):
        assert TINY.is_audio(token) == (position % 5 != 0)


@given(texts, speech, st.data())
def test_a_row_cut_anywhere_still_reads(text, codes, data):
    row = interleave(text, codes, TINY)
    cut = data.draw(st.integers(0, len(row)))
    some_text, some_codes = deinterleave(row[:cut], TINY)
    assert some_text == text[: len(some_text)] and some_codes == codes[: len(some_codes)]


def test_nothing_to_say_is_an_empty_row():
    assert interleave([], [], TINY) == []


@pytest.mark.parametrize(("row", "position", "wanted"), [
    ([TINY.audio(3)], 0, "text"),
    ([5, TINY.audio(3), 6], 2, "audio"),
    ([TINY.audio_pad], 0, "text"),
    ([5, TINY.tts_pad], 1, "audio"),
])  # fmt: skip
def test_a_token_of_the_wrong_stream_is_named(row, position, wanted):
    with pytest.raises(ValueError, match=f"stands at position {position}, where {wanted} belongs"):
        deinterleave(row, TINY)
