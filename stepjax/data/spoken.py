"""The corpus that needs no download: sentences of small grammars, spoken by eSpeak NG."""

import dataclasses
import functools
import io
from collections.abc import Sequence

import numpy as np

from stepjax.audio import reading, speech
from stepjax.audio.sentences import grammar
from stepjax.data import cache
from stepjax.data.draws import generator
from stepjax.data.utterances import Skipped, Source, Utterance, check_skipped, num_wanted, position

ENGINE_NAMES = {"en": "en-us"}  # the engine calls the other languages as we do
HELDOUT_SHARE = 0.1  # of the sentences of each grammar
FULL_SCALE = 2**15  # recordings are kept as 16-bit integers


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Who says what, in which language."""

    name: str
    language: str
    line: speech.Line


class SpokenSentences(Source):
    """Sentences and their recordings, all in memory: 32 kB a second."""

    def __init__(
        self, sentences: Sequence[Sentence], pcm: Sequence[np.ndarray], skipped: Sequence[Skipped]
    ):
        self._sentences, self._pcm, self.skipped = tuple(sentences), tuple(pcm), tuple(skipped)

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, i: int) -> Utterance:
        i = position(i, len(self))
        sentence, line = self._sentences[i], self._sentences[i].line
        audio_T = self._pcm[i].astype(np.float32) / FULL_SCALE
        return Utterance(sentence.name, audio_T, line.text, line.voice, sentence.language)

    def texts(self) -> list[str]:
        return [sentence.line.text for sentence in self._sentences]

    def identity(self) -> dict[str, str]:
        """The engine that spoke; who says what is decided by the config."""
        return {"engine": speech.version()}


def spoken_sentences(config, split: str) -> SpokenSentences:
    """`config.utterances` sentences to train on, or `config.heldout` others to be measured by.

    Both have the same grammars and voices. Reads: seed, utterances, heldout, languages, voices,
    speed, pitch, max_seconds, max_skipped, cache.
    """
    count = num_wanted(config, split)
    _check(config)
    sentences = [_sentence(config, split, i) for i in range(count)]
    kept, skipped = [], []
    for sentence, pcm_T in zip(sentences, _recordings(sentences, config.cache), strict=True):
        try:
            reading.checked(sentence.name, pcm_T / FULL_SCALE, config.max_seconds)
            kept.append((sentence, pcm_T))
        except reading.AudioError as error:
            skipped.append(Skipped(sentence.name, error.reason))
    check_skipped(skipped, count, f"the spoken {split} sentences", config.max_skipped)
    return SpokenSentences(*zip(*kept, strict=True), skipped)


def _check(config) -> None:
    """Refuses settings that nothing can be drawn from."""
    for field in ("languages", "voices"):
        if not config[field]:
            raise ValueError(f"{field}={config[field]} is empty: name at least one.")
    for field in ("speed", "pitch"):
        if len(config[field]) != 2 or config[field][0] > config[field][1]:
            raise ValueError(f"{field}={config[field]} is not (least, most).")


def _sentence(config, split: str, i: int) -> Sentence:
    """Languages take turns; voice, speed and pitch are drawn for each sentence."""
    language = config.languages[i % len(config.languages)]
    texts = _sentence_numbers(config.seed, language, split)
    text = grammar(language).sentence(int(texts[i // len(config.languages) % len(texts)]))
    draw = generator(config.seed, "spoken", split, i)
    voice = f"{ENGINE_NAMES.get(language, language)}+{draw.choice(list(config.voices))}"
    speed, pitch = (
        int(draw.integers(*limits, endpoint=True)) for limits in (config.speed, config.pitch)
    )
    return Sentence(f"{language}-{split}-{i:05d}", language, speech.Line(text, voice, speed, pitch))


@functools.cache
def _sentence_numbers(seed: int, language: str, split: str) -> np.ndarray:
    """The sentences of one split, shuffled, however many are wanted; splits share none."""
    shuffled = generator(seed, "sentences", language).permutation(len(grammar(language)))
    heldout = round(HELDOUT_SHARE * len(shuffled))
    return shuffled[:heldout] if split == "heldout" else shuffled[heldout:]


def _recordings(sentences: Sequence[Sentence], folder: str) -> list[np.ndarray]:
    """int16 [T] for every sentence, from disk if they were spoken before."""
    lines = [sentence.line for sentence in sentences]
    where = cache.path(folder, "spoken", speech.version(), *map(dataclasses.astuple, lines))
    with np.load(io.BytesIO(cache.kept(where, lambda: _spoken(lines)))) as stored:
        return np.split(stored["pcm"], stored["ends"][:-1])


def _spoken(lines: Sequence[speech.Line]) -> bytes:
    audio = speech.speak(lines)
    pcm = np.clip(np.rint(np.concatenate(audio) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(
        np.int16
    )
    file = io.BytesIO()
    np.savez(file, pcm=pcm, ends=np.cumsum([len(audio_T) for audio_T in audio]))
    return file.getvalue()
