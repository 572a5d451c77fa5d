"""Corpora of one's own: real files of odd rates and channel counts, some of them broken."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from stepjax.audio import reading
from stepjax.data import cache
from stepjax.data.corpora import entries_of
from stepjax.data.manifest import manifest

CASES = Path(__file__).parents[4] / "shared/cases/manifests"


def tone(rate, seconds=0.3, hertz=300.0):
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def corpus(folder, entries):
    """Writes entries as a manifest and returns a config for it."""
    path = folder / "corpus.jsonl"
    path.write_text(
        "".join(
            (entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries
        )
    )
    return ConfigDict(
        {
            "manifest": str(path),
            "heldout_share": 0.0,
            "max_seconds": 5.0,
            "max_skipped": 0.0,
            "max_tokens_per_second": 80.0,
            "cache": str(folder / "cache"),
        }
    )


@pytest.fixture
def recorded(tmp_path):
    """Ten recordings, no two alike in kind."""
    (tmp_path / "far").mkdir()
    kinds = [
        (8_000, 1, "PCM_16"),
        (11_025, 2, "PCM_24"),
        (44_100, 2, "FLOAT"),
        (48_000, 6, "PCM_32"),
        (16_000, 1, "ULAW"),
    ]
    for k, (rate, channels, subtype) in enumerate(kinds):
        audio = np.stack(
            [tone(rate, hertz=200 + 50 * k)] + [np.zeros(round(0.3 * rate))] * (channels - 1),
            axis=1,
        )
        soundfile.write(tmp_path / f"{k}.wav", audio, rate, subtype=subtype)
        soundfile.write(tmp_path / "far" / f"{k}.flac", audio, rate, subtype="PCM_16")
    names = [f"{k}.wav" for k in range(5)] + [f"far/{k}.flac" for k in range(5)]
    return [{"audio": name, "text": f"tone {name}"} for name in names]


def test_recordings_come_in_the_order_of_the_lines(tmp_path, recorded):
    source = manifest(corpus(tmp_path, [*recorded[:5], "", *recorded[5:]]), "train")
    assert source.texts() == [entry["text"] for entry in recorded]
    assert source.skipped == ()
    for i, entry in enumerate(recorded):
        assert (source[i].name, source[i].text) == (entry["audio"], entry["text"])
        np.testing.assert_array_equal(source[i].audio, reading.read(tmp_path / entry["audio"]))
        assert abs(len(source[i].audio) - 4_800) <= 1


def test_all_fields_are_taken_and_other_ones_left_alone(tmp_path, recorded):
    entry = {
        "audio": str(tmp_path / "0.wav"),
        "text": "Grüße",
        "speaker": "ann",
        "language": "de",
        "start": 0.1,
        "duration": 0.05,
        "mood": "merry",
    }
    (utterance,) = manifest(corpus(tmp_path, [entry]), "train").clips()
    assert utterance.name == f"{tmp_path}/0.wav@0.1+0.05"
    assert (utterance.text, utterance.speaker, utterance.language) == ("Grüße", "ann", "de")
    assert len(utterance.audio) == 800


def test_threads_read_what_one_reads(tmp_path, recorded):
    source = manifest(corpus(tmp_path, recorded), "train")
    order = [i % len(source) for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(source.__getitem__, order))
    assert all(
        np.array_equal(u.audio, source[i].audio) for u, i in zip(together, order, strict=True)
    )


BROKEN = {
    "empty.wav": "empty: it holds no samples",
    "short.wav": "too short: 0.062 ms, the least is 25 ms",
    "silent.wav": "silent: no sample reaches 0.0001 of full scale",
    "nan.wav": "not finite: it holds NaN or infinite samples",
    "long.wav": "too long: 6.00 s, the limit is 5 s",
    "text.wav": "no header: it begins like none of the formats that are read; convert it",
    "missing.wav": "unreadable: ",
}


@pytest.fixture
def broken(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "short.wav", [0.1], 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(900), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(900, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "long.wav", tone(8_000, 6.0), 8_000)
    (tmp_path / "text.wav").write_text("hello")
    return [{"audio": name, "text": "?"} for name in BROKEN]


def test_broken_recordings_are_skipped_by_name_and_reason(tmp_path, recorded, broken):
    config = corpus(tmp_path, [*broken[:3], *recorded, *broken[3:]])
    config.max_skipped = 0.5
    for _ in range(2):  # the second time from what was kept
        source = manifest(config, "train")
        assert source.texts() == [entry["text"] for entry in recorded]
        assert [each.name for each in source.skipped] == list(BROKEN)
        for each in source.skipped:
            assert each.reason.startswith(BROKEN[each.name])
            assert each.where.startswith(f"{tmp_path}/corpus.jsonl, line ")


def test_too_many_broken_ones_stop_everything(tmp_path, recorded, broken):
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"7 of 17 recordings of {tmp_path}/corpus.jsonl cannot be used and at most the share "
            f"max_skipped=0 may be left out; the first is empty.wav of {tmp_path}/corpus.jsonl, "
            "line 1 (empty: it holds no samples). Repair or remove them, or raise max_skipped."
        ),
    ):
        manifest(corpus(tmp_path, [*broken, *recorded]), "train")


def test_recordings_are_checked_once_until_they_change(tmp_path, recorded, monkeypatch):
    config = corpus(tmp_path, recorded)
    assert len(manifest(config, "train")) == 10
    with monkeypatch.context() as patch:
        patch.setattr(reading, "load", None)  # whoever reads now fails
        patch.setattr(cache, "digest", None)
        assert len(manifest(config, "train")) == 10
    (tmp_path / "3.wav").write_bytes(b"")
    config.max_skipped = 1.0
    assert [each.name for each in manifest(config, "train").skipped] == ["3.wav"]


def test_parts_of_one_recording_are_all_on_one_side_and_new_lines_move_none(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(16_000, 1.0), 16_000)
    for k in range(40):
        soundfile.write(tmp_path / f"{k}.wav", tone(16_000, 0.05), 16_000)
    parts = [
        {"audio": "a.wav", "text": f"part {k}", "start": k / 10, "duration": 0.1} for k in range(10)
    ]
    others = [{"audio": f"{k}.wav", "text": str(k)} for k in range(40)]
    config = corpus(tmp_path, [*parts, *others[:30]])
    config.heldout_share = 0.4
    before = [manifest(config, split).texts() for split in ("train", "heldout")]
    assert sorted(before[0] + before[1]) == sorted(
        entry["text"] for entry in [*parts, *others[:30]]
    )
    assert sorted(sum(text.startswith("part") for text in texts) for texts in before) == [0, 10]
    assert 5 <= sum(not text.startswith("part") for text in before[1]) <= 20
    corpus(tmp_path, [*others[::-1], *parts])
    after = [manifest(config, split).texts() for split in ("train", "heldout")]
    assert set(before[0]) < set(after[0])
    assert set(before[1]) <= set(after[1])


def test_the_identity_follows_what_decides_the_samples(tmp_path, recorded):
    config = corpus(tmp_path, recorded)
    before = manifest(config, "train").identity()
    assert before.keys() == {"entries", "recordings", "libsoxr"}
    corpus(tmp_path, ["", *[{**entry, "mood": "merry"} for entry in recorded], ""])
    assert manifest(config, "train").identity() == before
    changes = [
        ("text", "tone"),
        ("start", 0.1),
        ("duration", 0.1),
        ("audio", "1.wav"),
        ("speaker", "ann"),
        ("language", "de"),
    ]
    seen = {before["entries"]}
    for field, value in changes:
        corpus(tmp_path, [{**recorded[0], field: value}, *recorded[1:]])
        seen.add(manifest(config, "train").identity()["entries"])
    corpus(tmp_path, recorded[1:])
    seen.add(manifest(config, "train").identity()["entries"])
    corpus(tmp_path, [*recorded[1:], recorded[0]])
    seen.add(manifest(config, "train").identity()["entries"])
    assert len(seen) == len(changes) + 3
    corpus(tmp_path, recorded)
    soundfile.write(tmp_path / "0.wav", tone(8_000, hertz=201), 8_000)
    after = manifest(config, "train").identity()
    assert after["entries"] == before["entries"] and after["recordings"] != before["recordings"]


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("{", "it is not a JSON object: Expecting property name"),
        ("[1]", "it is not a JSON object"),
        ("{}", "it has no audio or audio_filepath and no text"),
        ('{"audio": "a.wav"}', "it has no text"),
        ('{"audio": 7, "text": "x"}', "audio is 7 and should be text"),
        ('{"audio": "a.wav", "text": " "}', "text is ' ' and should be text"),
        ('{"audio": "a.wav", "text": "x", "speaker": null}', "speaker is None and should be text"),
        (
            '{"audio": "a.wav", "text": "x", "start": -1}',
            "start is -1 and should be seconds, 0 or more",
        ),
        ('{"audio": "a.wav", "text": "x", "start": "1"}', "start is '1' and should be seconds"),
        ('{"audio": "a.wav", "text": "x", "start": NaN}', "start is nan and should be seconds"),
        (
            '{"audio": "a.wav", "text": "x", "duration": 0}',
            "duration is 0 and should be seconds, more than 0",
        ),
        (
            '{"audio": "a.wav", "text": "x", "duration": true}',
            "duration is True and should be seconds",
        ),
    ],
)
def test_a_malformed_line_is_named_by_its_number(tmp_path, line, complaint):
    path = tmp_path / "corpus.jsonl"
    path.write_text(f'{{"audio": "a.wav", "text": "fine"}}\n\n{line}\n')
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 3: {complaint}")):
        entries_of(path)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path):
    for path, content in [
        ("gone.jsonl", None),
        ("audio.jsonl", b"\xff\xfe\x00fLaC"),
        ("empty.jsonl", b"\n"),
    ]:
        config = corpus(tmp_path, [])
        config.manifest = str(tmp_path / path)
        if content is not None:
            (tmp_path / path).write_bytes(content)
        with pytest.raises(ValueError, match=path):
            manifest(config, "train")


def test_an_empty_split_says_what_to_change(tmp_path, recorded):
    with pytest.raises(
        ValueError,
        match="into the heldout split, with 10 recordings: add recordings, or change "
        "heldout_share=0, such as to 0.",
    ):
        manifest(corpus(tmp_path, recorded), "heldout")


def test_one_recording_cannot_be_both_trained_on_and_held_out(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(16_000, 1.0), 16_000)
    config = corpus(
        tmp_path,
        [{"audio": "a.wav", "text": "x", "start": k / 10, "duration": 0.1} for k in range(10)],
    )
    config.heldout_share = 0.05
    with pytest.raises(ValueError) as raised:
        manifest(config, "heldout")
    assert str(raised.value) == (
        f"No line of {config.manifest} falls into the heldout split, since all 10 are of one "
        "recording, and a recording is either trained on or held out: cut it into several files, "
        "or add others."
    )


def test_the_share_that_an_empty_split_suggests_is_enough(tmp_path, recorded):
    config = corpus(tmp_path, recorded)
    with pytest.raises(ValueError) as raised:
        manifest(config, "heldout")
    config.heldout_share = float(re.search(r"such as to (.*)\.$", str(raised.value))[1])
    assert len(manifest(config, "heldout")) >= 1


@pytest.mark.parametrize(
    "written, complaint",
    [
        (
            "",
            "manifest='' is no file and no folder: name a JSONL file, or a corpus in one of",
        ),
        ("/dev/null", "manifest='/dev/null' is no file and no folder"),
        ("a" * 5000, "manifest='aaaa"),
    ],
)
def test_a_path_without_a_corpus_is_refused(tmp_path, written, complaint):
    config = corpus(tmp_path, [])
    config.manifest = written
    with pytest.raises(ValueError, match=f"^{complaint}"):
        manifest(config, "train")


def test_a_text_far_too_long_for_its_recording_is_skipped(tmp_path, recorded):
    """A recording shorter than a second may have as many words as one of a second."""
    texts = ["x" * 80, "x" * 81, "ü" * 40, "ü" * 41, "word " * 5_000]
    entries = [{**entry, "text": text} for entry, text in zip(recorded, texts, strict=False)]
    config = corpus(tmp_path, entries)
    config.max_skipped = 0.7
    source = manifest(config, "train")
    assert source.texts() == [texts[0], texts[2]]
    assert [each.reason for each in source.skipped] == [
        f"too much text: {size} bytes in 0.30 s, the limit is 80 a second (max_tokens_per_second)"
        for size in (81, 82, 25_000)
    ]
    config.max_tokens_per_second = 82.0
    assert manifest(config, "train").texts() == texts[:4]


def test_mixed_recordings_are_counted_and_a_channel_is_chosen(tmp_path):
    left, right = tone(16_000), tone(16_000, hertz=700.0)
    soundfile.write(tmp_path / "both.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    soundfile.write(
        tmp_path / "one.wav", np.stack([left, 0 * right], axis=1), 16_000, subtype="FLOAT"
    )
    part = {"audio": "both.wav", "text": "x", "duration": 0.2}
    lines = [
        part,
        {**part, "start": 0.1},
        {**part, "channel": 1},
        {"audio": "one.wav", "text": "x"},
    ]
    source = manifest(corpus(tmp_path, lines), "train")
    assert source.mixed == 1
    np.testing.assert_allclose(source[0].audio, (left + right)[:3_200] / 2, atol=1e-6)
    np.testing.assert_allclose(source[2].audio, right[:3_200], atol=1e-6)
    np.testing.assert_allclose(source[3].audio, left, atol=1e-6)
    assert manifest(corpus(tmp_path, lines[2:]), "train").mixed == 0


def test_parts_of_a_recording_are_on_one_side_however_its_path_is_written(tmp_path):
    for k in range(20):
        soundfile.write(tmp_path / f"{k}.wav", tone(16_000), 16_000)
    ways = ("{}.wav", "./{}.wav", "there/../{}.wav", ".//{}.wav")
    lines = [{"audio": way.format(k), "text": str(k)} for k in range(20) for way in ways]
    (tmp_path / "there").mkdir()
    config = corpus(tmp_path, lines)
    config.heldout_share = 0.5
    train, heldout = (manifest(config, split).texts() for split in ("train", "heldout"))
    assert len(train) + len(heldout) == 80 and not set(train) & set(heldout)


def test_names_that_cannot_be_written_are_counted_all_the_same(tmp_path, recorded):
    path = tmp_path / "metadata.jsonl"
    named = [{"file_name": entry["audio"], "text": entry["text"]} for entry in recorded]
    lines = [*named, {"file_name": "\ud83d\n", "text": ""}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = corpus(tmp_path, [])
    config.manifest, config.max_skipped = str(path), 0.5
    (skipped,) = manifest(config, "train").skipped
    assert skipped.name == r"\ud83d\n" and skipped.reason.startswith("no text: ")


def test_lines_that_tell_no_words_are_skipped_and_counted(tmp_path, recorded):
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,text\n0.wav,one\n1.wav,\n2.wav,three\n")
    config = corpus(tmp_path, [])
    config.manifest, config.max_skipped = str(tmp_path), 0.4
    source = manifest(config, "train")
    assert source.texts() == ["one", "three"]
    assert [(each.name, each.where) for each in source.skipped] == [("1.wav", f"{path}, line 3")]


@pytest.fixture
def cases(tmp_path):
    """The shared manifests, beside the recordings that they name."""
    for k in range(20):
        soundfile.write(tmp_path / f"{k:02d}.wav", tone(16_000, 0.6, 200 + 20 * k), 16_000)
    shutil.copy(tmp_path / "03.wav", tmp_path / "03.raw")
    (tmp_path / "03.raw").write_bytes((tmp_path / "03.wav").read_bytes()[44:])
    for path in CASES.glob("*.jsonl"):
        shutil.copy(path, tmp_path)

    def source(name, split="train", **changes):
        config = corpus(tmp_path, [])
        config.update({"manifest": str(tmp_path / name), "heldout_share": 0.05, "max_seconds": 2.5,
                       "max_skipped": 0.01, **changes})  # fmt: skip
        return manifest(config, split)

    return source


@pytest.mark.skipif(not CASES.exists(), reason="shared/cases is absent")
def test_inputs_that_went_wrong_elsewhere(tmp_path, cases):
    for name, lines in [("good", 20), ("bom", 20), ("nemo", 20), ("offset", 20), ("edited", 40)]:
        splits = [cases(f"{name}.jsonl", split) for split in ("train", "heldout")]
        assert sum(map(len, splits)) == lines > len(splits[1]) > 0
        assert not any(split.skipped for split in splits)
    assert len(cases("offset.jsonl")[0].audio) == 3_200
    assert cases("good.jsonl").identity() != cases("edited.jsonl").identity()
    assert cases("good.jsonl").identity() == cases("bom.jsonl").identity()
    (skipped,) = cases("start_beyond.jsonl", max_skipped=0.1).skipped
    assert skipped.reason == "beyond the file: it lasts 0.60 s, the start is 5.00 s"
    for name, complaint in [
        ("longer_than_file", "line 1 (beyond the file: it lasts 0.60 s, the end is 2.40 s)"),
        ("raw", "line 4 (no header: it begins like none of the formats that are read; convert it)"),
        ("nul", "line 4: audio '03\\x00.wav' holds the character NUL, which no path can."),
        ("surrogate", "line 4: text holds half a character, U+D83D."),
        ("huge_start", "line 4: start is 1000"),
    ]:
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{name}.jsonl, {complaint}")):
            cases(f"{name}.jsonl")
    with pytest.raises(ValueError, match="since all 10 are of one recording"):
        cases("one_recording.jsonl", "heldout")
