"""What is known of the files of a corpus, and how seldom it is asked."""

import os

import numpy as np
import pytest
import soundfile

from stepjax.audio import reading
from stepjax.data import cache
from stepjax.data.entries import Entry
from stepjax.data.verdicts import Verdict, verdicts


@pytest.fixture
def asked(monkeypatch):
    """The files that were hashed and the parts that were decoded, in the order of asking."""
    calls = {"hashed": [], "decoded": []}
    digest, load = cache.digest, reading.load

    def hashing(path):
        calls["hashed"].append(os.path.basename(path))
        return digest(path)

    def decoding(path, *args):
        calls["decoded"].append((os.path.basename(path), *args))
        return load(path, *args)

    monkeypatch.setattr(cache, "digest", hashing)
    monkeypatch.setattr(reading, "load", decoding)
    return calls


@pytest.fixture
def ask(tmp_path, asked):
    def ask(*entries, max_seconds=5.0, name="corpus"):
        """The verdicts, and who was hashed and decoded for them."""
        for calls in asked.values():
            calls.clear()
        entries = [Entry(folder=tmp_path, text="x", **fields) for fields in entries]
        found = verdicts(name, entries, max_seconds, str(tmp_path / "cache"))
        return found, sorted(asked["hashed"]), sorted(call[0] for call in asked["decoded"])

    return ask


def record(path, hertz=300, channels=1, seconds=0.5):
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(8_000 * seconds)) / 8_000)
    soundfile.write(path, np.stack([tone] * channels, axis=1), 8_000)


def test_a_verdict_says_what_was_found(tmp_path, ask):
    record(tmp_path / "a.wav", channels=2)
    found, *_ = ask({"audio": "a.wav"}, {"audio": "a.wav", "start": 9}, {"audio": "gone.wav"})
    digest = cache.digest(tmp_path / "a.wav")
    assert found == [
        Verdict(digest, "", 0.5, True, ["libsoxr"]),
        Verdict(digest, "beyond the file: it lasts 0.50 s, the start is 9.00 s"),
        Verdict("", "unreadable: No such file or directory"),
    ]


def test_each_file_is_hashed_once_and_each_part_decoded_once(tmp_path, ask):
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav", 400)
    halves = [{"audio": "a.wav", "start": start, "duration": 0.25} for start in (0, 0.25)]
    first = ask(*halves, {"audio": "b.wav"}, {"audio": "b.wav"})
    assert first[1:] == (["a.wav", "b.wav"], ["a.wav", "a.wav", "b.wav"])
    again = ask(*halves, {"audio": "b.wav"}, {"audio": "b.wav"})
    assert again == (first[0], [], [])


def test_only_what_is_new_is_looked_at(tmp_path, ask):
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav", 400)
    ask({"audio": "a.wav"})
    assert ask({"audio": "a.wav"}, {"audio": "b.wav"})[1:] == (["b.wav"], ["b.wav"])
    assert ask({"audio": "a.wav", "start": 0.1}, {"audio": "b.wav"})[1:] == ([], ["a.wav"])
    assert ask({"audio": "b.wav"}, max_seconds=0.1)[1:] == ([], ["b.wav"])


def test_a_file_that_changed_is_looked_at_again(tmp_path, ask):
    record(tmp_path / "a.wav")
    before = ask({"audio": "a.wav"})[0]
    record(tmp_path / "a.wav", 301)
    os.utime(tmp_path / "a.wav", ns=(1, 1))
    after = ask({"audio": "a.wav"})
    assert after[1:] == (["a.wav"], ["a.wav"])
    assert after[0][0].digest != before[0].digest
    (tmp_path / "a.wav").unlink()
    assert ask({"audio": "a.wav"})[0][0].reason.startswith("unreadable: ")


def test_other_libraries_and_a_damaged_cache_mean_other_verdicts(tmp_path, ask, monkeypatch):
    record(tmp_path / "a.wav")
    ask({"audio": "a.wav"})
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"nonsense")
    assert ask({"audio": "a.wav"})[1] == ["a.wav"]
    monkeypatch.setitem(reading.LIBRARIES, "libsndfile", "9.9")
    assert ask({"audio": "a.wav"})[1] == ["a.wav"]
