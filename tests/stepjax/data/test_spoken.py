"""The default corpus: spoken here and now, by the real engine."""

import time

import numpy as np
import pytest
from ml_collections import ConfigDict

from stepjax.audio import speech
from stepjax.audio.sentences import grammar
from stepjax.data.spoken import spoken_sentences


def config(folder, **changes):
    return ConfigDict(
        {
            "seed": 0,
            "utterances": 8,
            "heldout": 4,
            "languages": ("en", "de"),
            "voices": ("m1", "f2"),
            "speed": (160, 210),
            "pitch": (35, 65),
            "max_seconds": 4.0,
            "max_skipped": 0.0,
            "cache": str(folder),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def train(folder):
    return spoken_sentences(config(folder), "train")


def everything(source):
    utterances = [source[i] for i in range(len(source))]
    return [(u.name, u.text, u.speaker, u.language, u.audio.tobytes()) for u in utterances]


def test_sentences_say_who_speaks_what_in_which_language(train):
    assert len(train) == 8
    assert train.skipped == ()
    for i in range(8):
        utterance = train[i]
        language = ("en", "de")[i % 2]
        assert (utterance.name, utterance.language) == (f"{language}-train-{i:05d}", language)
        assert utterance.speaker in {
            f"{voice}+{v}" for voice in ("en-us", "de") for v in ("m1", "f2")
        }
        assert utterance.audio.dtype == np.float32
        assert 0.5 < len(utterance.audio) / 16_000 < 2.6
        assert utterance.text in [
            grammar(language).sentence(k) for k in range(len(grammar(language)))
        ]
    assert train.texts() == [u.text for u in train.clips()] == [train[i].text for i in range(8)]


def test_the_kept_corpus_is_the_spoken_one_bit_for_bit(train, folder, tmp_path, monkeypatch):
    assert everything(spoken_sentences(config(tmp_path), "train")) == everything(train)
    monkeypatch.setattr(speech, "speak", None)  # from here on nothing is spoken
    assert everything(spoken_sentences(config(folder), "train")) == everything(train)


def test_the_engine_is_all_outside_the_config_that_decides_the_samples(train):
    assert train.identity() == {"engine": speech.version()}


def test_a_damaged_file_is_spoken_again(train, tmp_path):
    spoken_sentences(config(tmp_path), "train")
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    assert everything(spoken_sentences(config(tmp_path), "train")) == everything(train)


def test_a_longer_corpus_begins_like_a_shorter_one(train, tmp_path):
    longer = spoken_sentences(config(tmp_path, utterances=11, heldout=9), "train")
    assert everything(longer)[:8] == everything(train)


def test_another_seed_is_another_corpus(train, tmp_path):
    other = spoken_sentences(config(tmp_path, seed=1), "train")
    assert other.texts() != train.texts()


def test_held_out_sentences_are_never_trained_on(monkeypatch, folder):
    monkeypatch.setattr(speech, "speak", lambda lines: [np.full(400, 0.5, np.float32)] * len(lines))
    both = [spoken_sentences(config(folder, utterances=4_000, heldout=400, seed=5), split)
            for split in ("train", "heldout")]  # fmt: skip
    train, heldout = (set(source.texts()) for source in both)
    assert len(train) == 2 * 1757  # every sentence that is not held out
    assert len(heldout) == 2 * 195
    assert not train & heldout


def test_a_sentence_that_is_too_long_is_skipped_by_name(tmp_path):
    limit = config(tmp_path, max_seconds=1.5, max_skipped=0.9)
    source = spoken_sentences(limit, "train")
    assert 0 < len(source) == 8 - len(source.skipped)
    assert source.skipped[0].reason.startswith("too long: ")
    assert source.skipped[0].reason.endswith(" s, the limit is 1.5 s")
    limit.max_skipped = 0.01
    with pytest.raises(
        ValueError, match="of 8 recordings of the spoken train sentences cannot be used"
    ):
        spoken_sentences(limit, "train")


@pytest.mark.parametrize("changes, message", [
    ({"utterances": 0}, "utterances=0 leaves the train split empty"),
    ({"languages": ("en", "tlh")}, "language 'tlh' has no grammar here"),
    ({"languages": ()}, "languages=.. is empty"),
    ({"voices": ()}, "voices=.. is empty"),
    ({"voices": ("f9",)}, "voice='en-us.f9' has no variant 'f9': choose .*f1, "),
    ({"speed": (210, 160)}, r"speed=\(210, 160\) is not \(least, most\)"),
    ({"pitch": (90, 110)}, r"pitch=\d+ is not within 0 to 99"),
])  # fmt: skip
def test_nonsense_is_refused_in_a_sentence(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        spoken_sentences(config(tmp_path, **changes), "train")


@pytest.mark.slow
def test_600_sentences_take_at_most_20_seconds(tmp_path):
    began = time.monotonic()
    spoken_sentences(config(tmp_path, utterances=600, max_skipped=1.0), "train")
    assert time.monotonic() - began < 20
