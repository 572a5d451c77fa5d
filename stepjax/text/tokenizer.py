"""Text <-> ids: a byte-level BPE (Sennrich et al. 2016) trained on the corpus.

Every byte is a token, so any text goes in and comes out unchanged. Words are cut with the rule of
Qwen 2. Marks such as `<|EOT|>` are none of its business: a transcript that contains those letters
is just text.
"""

import pathlib
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

NUM_BYTES = 256
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE_COPIES = 4  # of each template string for every text: enough to become few tokens


class Tokenizer:
    """Ids 0 to `text_size` - 1, of which the first `used` have a text.

    >>> tokenizer = train(["one two", "two three"], text_size=260)
    >>> tokenizer.decode(tokenizer.encode("two 二 🙂"))
    'two 二 🙂'
    >>> tokenizer.used, tokenizer.unused
    (258, 2)
    """

    def __init__(self, bpe: tokenizers.Tokenizer, text_size: int):
        assert bpe.get_vocab_size() <= text_size
        self._bpe = bpe
        self.text_size = text_size
        self.used = bpe.get_vocab_size()

    @property
    def unused(self) -> int:
        """Ids that the corpus was too small to fill."""
        return self.text_size - self.used

    def encode(self, text: str) -> list[int]:
        return self._bpe.encode(text).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._bpe.encode_batch(list(texts))]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; marks, audio and unused ids have none. Broken UTF-8 becomes U+FFFD."""
        return self._bpe.decode([int(i) for i in ids if 0 <= i < self.used])

    def save(self, path: str | pathlib.Path) -> None:
        """Raises OSError, as `tokenizers` itself does not."""
        pathlib.Path(path).write_text(self._bpe.to_str(pretty=True), encoding="utf-8")


def train(texts: Sequence[str], text_size: int, templates: Sequence[str] = ()) -> Tokenizer:
    """Learns up to `text_size` tokens; the same texts give the same tokens.

    Args:  templates: strings that stand in every sequence (prompts, roles); repeated, so that they
           merge.
    """
    if text_size < NUM_BYTES:
        raise ValueError(
            f"text_size={text_size} was given; text needs at least {NUM_BYTES} ids, one a byte."
        )
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=text_size,
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = [*texts, *(list(templates) * (TEMPLATE_COPIES * max(1, len(texts))))]
    bpe.train_from_iterator(corpus, trainer)
    return Tokenizer(bpe, text_size)


def load(path: str | pathlib.Path, text_size: int) -> Tokenizer:
    """What `save` wrote; `text_size` comes from the config, as in training."""
    bpe = tokenizers.Tokenizer.from_file(str(path))
    if bpe.get_vocab_size() > text_size:
        raise ValueError(
            f"{path} has {bpe.get_vocab_size()} tokens, text_size={text_size} was given; "
            f"use the text_size that it was trained with."
        )
    return Tokenizer(bpe, text_size)
