"""Speaking while writing: one text token, then four audio tokens, and again ("TA4", Step-Audio 2).

    text   t0 . . . .  t1 . . . .  pad . . . .
    audio   . a0 a1 a2 a3 . a4 a5 a6 a7 . a8 pad pad pad

The stream that ends first is padded, so every chunk is whole and a reader needs no lengths.
"""

from collections.abc import Iterable, Sequence

from stepjax.text.vocabulary import Vocabulary

AUDIO_PER_TEXT = 4
CHUNK = 1 + AUDIO_PER_TEXT


def num_chunks(num_text: int, num_audio: int) -> int:
    return max(num_text, -(-num_audio // AUDIO_PER_TEXT))


def interleave(text: Sequence[int], codes: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """Text ids and codec codes as one row of ids, without `<tts_start>` and `<tts_end>`.

    >>> v = Vocabulary(text_size=100, audio_codes=10)
    >>> interleave([7, 8], [0, 1, 2, 3, 4], v)
    [7, 153, 154, 155, 156, 8, 157, 163, 163, 163]
    """
    chunks = num_chunks(len(text), len(codes))
    audio = [vocabulary.audio(code) for code in codes]
    text = [*text] + [vocabulary.tts_pad] * (chunks - len(text))
    audio += [vocabulary.audio_pad] * (chunks * AUDIO_PER_TEXT - len(audio))
    return [
        token
        for chunk in range(chunks)
        for token in (text[chunk], *audio[chunk * AUDIO_PER_TEXT : (chunk + 1) * AUDIO_PER_TEXT])
    ]


def deinterleave(tokens: Iterable[int], vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """The text ids and codes of a row that may stop in the middle of a chunk.

    >>> v = Vocabulary(text_size=100, audio_codes=10)
    >>> deinterleave([7, 153, 154, 155, 156, 8, 157], v)
    ([7, 8], [0, 1, 2, 3, 4])
    """
    text, codes = [], []
    for position, token in enumerate(map(int, tokens)):
        in_text = position % CHUNK == 0
        if token == (vocabulary.tts_pad if in_text else vocabulary.audio_pad):
            continue
        if in_text == vocabulary.is_audio(token):
            raise ValueError(
                f"deinterleave: id {token} stands at position {position}, where "
                f"{'text' if in_text else 'audio'} belongs; give the row between <tts_start> and "
                "<tts_end>."
            )
        (text if in_text else codes).append(token if in_text else token - vocabulary.audio(0))
    return text, codes
