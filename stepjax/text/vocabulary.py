"""One row of ids for text, marks and speech, laid out as in Step-Audio 2 (Wu et al. 2025).

    0 .. text_size | endoftext .. EOT BOT .. audio_start .. tts_pad | audio 0 .. K-1, pad | unused
    byte-level BPE   53 marks, always at the same offsets             K codes of the codec

Every id is relative to the end of the text block: a smaller one shifts the others and changes
nothing else.
"""

import dataclasses
from collections.abc import Iterable

# Offsets from the end of the text block. Up to 21 they are Qwen 2.5's, of which only those in use
# are named.
MARKS = {
    "<|endoftext|>": 0,
    "<|im_start|>": 1,
    "<|im_end|>": 2,
    "<tool_call>": 14,
    "</tool_call>": 15,
    "<|EOT|>": 22,
    "<|BOT|>": 23,
    "<audio_start>": 45,
    "<audio_end>": 46,
    "<audio_patch>": 47,
    "<tts_start>": 50,
    "<tts_end>": 51,
    "<tts_pad>": 52,
}
FIRST_CODE = 53


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Which id means what.

    Args:  text_size: ids of the text tokenizer.   audio_codes: size of the speech codec's codebook.
           multiple: the size is rounded up to it, so that the embedding can be split evenly.

    >>> mini = Vocabulary(text_size=151643, audio_codes=6561, multiple=512)
    >>> mini.eot, mini.audio(0), mini.audio_pad, mini.size
    (151665, 151696, 158257, 158720)
    """

    text_size: int
    audio_codes: int
    multiple: int = 1

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ValueError(
                    f"Vocabulary: {field.name}={value} was given; it must be at least 1."
                )

    def mark(self, name: str) -> int:
        """The id of a mark by its printed name, such as `<|EOT|>`."""
        return self.text_size + MARKS[name]

    endoftext = property(lambda self: self.mark("<|endoftext|>"))  # also fills unused positions
    im_end = property(lambda self: self.mark("<|im_end|>"))
    eot = property(lambda self: self.mark("<|EOT|>"))  # end of turn
    bot = property(lambda self: self.mark("<|BOT|>"))  # begin of turn
    audio_start = property(lambda self: self.mark("<audio_start>"))
    audio_end = property(lambda self: self.mark("<audio_end>"))
    # replaced by a frame of the adaptor
    audio_patch = property(lambda self: self.mark("<audio_patch>"))
    tts_start = property(lambda self: self.mark("<tts_start>"))
    tts_end = property(lambda self: self.mark("<tts_end>"))
    tts_pad = property(lambda self: self.mark("<tts_pad>"))

    def audio(self, code: int) -> int:
        """The id of a code of the speech codec."""
        if not 0 <= code < self.audio_codes:
            raise ValueError(
                f"audio code {code} was given; the codes go from 0 to {self.audio_codes - 1}."
            )
        return self.text_size + FIRST_CODE + int(code)

    @property
    def audio_pad(self) -> int:
        return self.text_size + FIRST_CODE + self.audio_codes

    @property
    def stops(self) -> frozenset[int]:
        """Each of these ends an answer."""
        return frozenset({self.endoftext, self.im_end, self.eot})

    @property
    def size(self) -> int:
        return -(-(self.audio_pad + 1) // self.multiple) * self.multiple

    def is_text(self, token: int) -> bool:
        """Text by the official rule: all ids before `<audio_start>`, turn and tool marks too."""
        return 0 <= token < self.audio_start

    def is_audio(self, token: int) -> bool:
        """A code of the codec, or the audio pad."""
        return self.text_size + FIRST_CODE <= token <= self.audio_pad

    def split(self, output: Iterable[int]) -> tuple[list[int], list[int]]:
        """Text ids and audio codes of a generated answer, by the official rule: no pads, no marks.

        The official rule cuts the last token, which is the stop; here the answer ends before its
        first stop, which is the same for a finished answer and loses nothing of one that ran out of
        room.
        """
        text, codes = [], []
        for token in map(int, output):
            if token in self.stops:
                break
            if self.is_text(token):
                text.append(token)
            elif self.is_audio(token) and token != self.audio_pad:
                codes.append(token - self.text_size - FIRST_CODE)
        return text, codes
