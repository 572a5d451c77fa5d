import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepjax.text.vocabulary import MARKS, Vocabulary

MINI = Vocabulary(text_size=151643, audio_codes=6561, multiple=512)  # Step-Audio 2 mini
TINY = Vocabulary(text_size=400, audio_codes=64, multiple=64)


def test_the_published_ids():
    assert MINI.endoftext == 151643
    assert MINI.im_end == 151645
    assert (MINI.mark("<tool_call>"), MINI.mark("</tool_call>")) == (151657, 151658)
    assert (MINI.eot, MINI.bot) == (151665, 151666)
    assert (MINI.audio_start, MINI.audio_end, MINI.audio_patch) == (151688, 151689, 151690)
    assert (MINI.tts_start, MINI.tts_end, MINI.tts_pad) == (151693, 151694, 151695)
    assert (MINI.audio(0), MINI.audio(6560), MINI.audio_pad) == (151696, 158256, 158257)
    assert MINI.size == 158720
    assert MINI.stops == {151643, 151645, 151665}


def test_a_tiny_vocabulary_has_the_same_order():
    for name in MARKS:
        assert MINI.mark(name) - TINY.mark(name) == MINI.text_size - TINY.text_size
    assert (TINY.audio(0), TINY.audio(63), TINY.audio_pad, TINY.size) == (453, 516, 517, 576)


def test_every_id_of_a_tiny_vocabulary_has_at_most_one_meaning():
    meanings = [
        *range(TINY.text_size),
        *map(TINY.mark, MARKS),
        *map(TINY.audio, range(64)),
        TINY.audio_pad,
    ]
    assert len(set(meanings)) == len(meanings)
    assert meanings == sorted(meanings) and meanings[-1] < TINY.size
    for token in range(TINY.size):
        assert not (TINY.is_text(token) and TINY.is_audio(token))
        assert TINY.is_text(token) == (token < TINY.audio_start)
        assert TINY.is_audio(token) == (token in meanings[-65:])


@given(st.lists(st.integers(0, TINY.size - 1)))
def test_a_finished_output_splits_by_the_official_rule(tokens):
    body = [token for token in tokens if token not in TINY.stops]
    codes = [token - TINY.tts_pad - 1 for token in body if token > TINY.tts_pad]
    official = (
        [token for token in body if token < TINY.audio_start],
        [code for code in codes if code < 64],
    )
    assert TINY.split([*body, TINY.eot]) == official
    assert TINY.split(body) == official  # ran out of room: nothing is cut
    assert TINY.split([*body, TINY.eot, 1, TINY.audio(2)]) == official


@pytest.mark.parametrize("field", ["text_size", "audio_codes", "multiple"])
def test_nonsense_is_refused_by_name(field):
    with pytest.raises(ValueError, match=f"{field}=0 was given; it must be at least 1"):
        Vocabulary(**{"text_size": 400, "audio_codes": 64, "multiple": 64} | {field: 0})


@pytest.mark.parametrize("code", [-1, 64])
def test_a_code_outside_the_codebook_is_refused(code):
    with pytest.raises(ValueError, match=f"audio code {code} was given; the codes go from 0 to 63"):
        TINY.audio(code)
