"""Lhotse's manifests, made here as its documentation describes them."""

import gzip
import json

import pytest

from stepjax.data.corpora import entries_of
from stepjax.data.entries import Entry
from stepjax.data.utterances import Skipped


def recording(name="r1", sources=None, **others):
    sources = sources or [{"type": "file", "channels": [0], "source": f"{name}.wav"}]
    return {"id": name, "sources": sources, "sampling_rate": 16000, "num_samples": 160000,
            "duration": 10.0, **others}  # fmt: skip


def supervision(**others):
    return {
        "id": "s1",
        "recording_id": "r1",
        "start": 0.5,
        "duration": 2.0,
        "channel": 0,
        "text": "one",
        "language": "English",
        "speaker": "ann",
        **others,
    }


def cut(supervisions=None, **others):
    supervisions = [supervision()] if supervisions is None else supervisions
    return {"id": "c1", "start": 4.0, "duration": 5.0, "channel": 0, "supervisions": supervisions,
            "recording": recording(), "type": "MonoCut", **others}  # fmt: skip


def written(path, *lines):
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def contents(path):
    return [each.content if isinstance(each, Entry) else each for each in entries_of(path)]


ONE = ("r1.wav", "one", "ann", "English", 4.5, 2.0, None)


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_cuts(tmp_path, name):
    second = supervision(id="s2", start=3, text="two", speaker=None)
    path = written(tmp_path / name, cut(), cut([supervision(), second], custom={"a": 1}))
    both = [ONE, ONE, ("r1.wav", "two", "", "English", 7.0, 2.0, None)]
    assert contents(path) == contents(tmp_path) == both


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_recordings_and_supervisions(tmp_path, suffix):
    heard, said = (
        tmp_path / f"libri_{word}_dev{suffix}" for word in ("recordings", "supervisions")
    )
    written(heard, recording(), recording("r2"), recording("r3"))
    written(said, supervision(), supervision(id="s2", recording_id="r2", start=0, text="two"),
            supervision(id="s3", recording_id="r9"))  # fmt: skip
    expected = [
        ("r1.wav", "one", "ann", "English", 0.5, 2.0, None),
        ("r2.wav", "two", "ann", "English", 0, 2.0, None),
        Skipped("r9", "no recording: none has this id", f"{said}, line 3"),
        Skipped("r3", "no text: it has no supervision", f"{heard}, line 3"),
    ]
    assert contents(heard) == contents(said) == contents(tmp_path) == expected


def test_half_of_a_pair_asks_for_the_other(tmp_path):
    path = written(tmp_path / "recordings.jsonl", recording())
    with pytest.raises(ValueError, match="holds Lhotse's recordings and needs the supervisions be"):
        entries_of(path)
    path = written(tmp_path / "a.jsonl", supervision())
    with pytest.raises(
        ValueError, match="holds Lhotse's supervisions and needs the recordings bes"
    ):
        entries_of(path)


def test_channels_are_found_in_the_files_that_hold_them(tmp_path):
    apart = [{"type": "file", "channels": [c], "source": f"{c}.wav"} for c in (0, 1)]
    together = [{"type": "file", "channels": [0, 2], "source": "both.wav"}]
    for sources, channel, expected in [
        (apart, 0, ("0.wav", None)),
        (apart, 1, ("1.wav", None)),
        (together, 0, ("both.wav", 0)),
        (together, 2, ("both.wav", 1)),
        (together, [0, 2], ("both.wav", None)),
        (together, 1, "no channel 1: no file of the recording has it"),
        (apart, [0, 1], "no channel [0, 1]: no file of the recording has it"),
    ]:
        line = cut([supervision(channel=channel)], recording=recording(sources=sources))
        (found,) = entries_of(written(tmp_path / "cuts.jsonl", line))
        got = found.reason if isinstance(found, Skipped) else (found.audio, found.channel)
        assert got == expected


@pytest.mark.parametrize(
    "line, reason",
    [
        (cut([]), "no text: it has no supervision"),
        (cut([supervision(text=None)]), "no text: it does not say what is said"),
        (cut([supervision(text="")]), "no text: it does not say what is said"),
        (cut(recording=None), "no recording: the cut has none"),
        (
            cut(recording=recording(transforms=[{"name": "Speed"}])),
            "transforms: the recording is to be changed by",
        ),
        (
            cut(
                recording=recording(
                    sources=[{"type": "command", "channels": [0], "source": "sox a.wav"}]
                )
            ),
            "source: it is of type 'command', and not a file",
        ),
        (cut([supervision(start=-1.0)]), "cut: a supervision begins before it"),
        (cut([supervision(duration=9.0)]), "cut: a supervision ends behind it"),
        (
            {"id": "m", "type": "MixedCut", "tracks": []},
            "cut: of the type 'MixedCut', which is not a part of one",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_skipped_with_its_reason(tmp_path, line, reason):
    path = written(tmp_path / "cuts.jsonl", line, cut())
    first, second = contents(path)
    assert first.reason.startswith(reason) and first.where == f"{path}, line 1"
    assert second == ONE


def test_a_cut_may_be_a_little_shorter_than_its_supervision(tmp_path):
    line = cut([supervision(start=-0.01, duration=5.02)])
    assert contents(written(tmp_path / "cuts.jsonl", line)) == [
        ("r1.wav", "one", "ann", "English", 4.0, 5.02, None)
    ]


@pytest.mark.parametrize(
    "line, complaint",
    [
        (cut(id=None), "id is None and should be text"),
        (cut(start="4"), "start is '4' and should be seconds, 0 or more"),
        (cut(duration=10**400), "duration is 10000"),
        (cut(supervisions={}), "supervisions is {} and should be a list"),
        (cut(supervisions=[7]), "supervision is 7 and should be an object"),
        (cut(recording=7), "recording is 7 and should be an object"),
        (cut(recording={"id": "r1"}), "sources is None and should be a list"),
        (cut(recording=recording(sources=[7])), "source is 7 and should be an object"),
        (cut(recording=recording(sources=[{"channels": 0}])), "channels is 0 and should be a list"),
        (
            cut(
                recording=recording(
                    sources=[{"type": "url", "channels": [0], "source": "https://h/a.wav"}]
                )
            ),
            "audio 'https://h/a.wav' is an address",
        ),
        (cut([supervision(start=True)]), "start is True and should be seconds, 0 or more"),
        (
            cut([supervision(channel=True)]),
            "channel is True and should be a number or a list of such",
        ),
        (
            cut([supervision(channel=[])]),
            "channel is [] and should be a number or a list of such",
        ),
        (cut([supervision(duration=0)]), "duration is 0 and should be seconds, more than 0"),
        (cut([supervision(text=7)]), "text is 7 and should be text"),
        (cut([supervision(text="a\ud83d")]), "text holds half a character"),
        (
            cut([{"id": "s", "start": 0, "duration": 1, "txt": "x"}]),
            "it has no field 'text', but one called 'txt'",
        ),
        ([1], "it is not a JSON object"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(tmp_path, line, complaint):
    path = written(tmp_path / "cuts.jsonl", cut(), line)
    with pytest.raises(ValueError) as raised:
        entries_of(path)
    assert str(raised.value).startswith(f"{path}, line 2: {complaint}")


def test_an_id_names_one_recording(tmp_path):
    written(tmp_path / "recordings.jsonl", recording(), recording("r2"), recording())
    path = written(tmp_path / "supervisions.jsonl", supervision())
    with pytest.raises(ValueError, match="line 3: the recording 'r1' is in line 1 too"):
        entries_of(path)


def test_paths_start_at_the_manifest_or_else_where_the_command_is_run(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "here/r1.wav").touch()
    monkeypatch.chdir(tmp_path / "here")
    path = written(tmp_path / "manifests/cuts.jsonl", cut())
    (entry,) = entries_of(path)
    assert entry.path.resolve() == tmp_path / "here/r1.wav" and entry.audio == "r1.wav"
    (tmp_path / "manifests/r1.wav").touch()
    (entry,) = entries_of(path)
    assert entry.path == tmp_path / "manifests/r1.wav"
