"""The layouts of others, made here as their owners describe them."""

import gzip
import json
import os
import re

import pytest

from stepjax.data.corpora import entries_of
from stepjax.data.entries import Entry
from stepjax.data.utterances import Skipped

COMMON_VOICE = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\t"
    "accents\tvariant\tlocale\tsegment"
)


def jsonl(path, *lines):
    said = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(said) + "\n")
    return path


def refusal(path):
    with pytest.raises(ValueError) as raised:
        entries_of(path)
    return str(raised.value)


def contents(path):
    return [each.content if isinstance(each, Entry) else each for each in entries_of(path)]


def test_our_own_layout(tmp_path):
    full = {"audio": "a.wav", "text": "hi", "speaker": "ann", "language": "en", "start": 1,
            "duration": 2.5, "channel": 1}  # fmt: skip
    path = jsonl(tmp_path / "a.jsonl", full, "", {"audio": "b.wav", "text": "x", "mood": "merry"})
    assert contents(path) == [
        ("a.wav", "hi", "ann", "en", 1, 2.5, 1),
        ("b.wav", "x", "", "", 0.0, None, None),
    ]
    first, second = entries_of(path)
    assert (first.path, second.where) == (tmp_path / "a.wav", f"{path}, line 3")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.manifest", "a"])
def test_nemo(tmp_path, name):
    lines = [
        {"audio_filepath": "a.wav", "duration": 0.6, "text": "one", "offset": 0.3, "lang": "en"},
        {"audio_filepath": "/b.wav", "duration": 2, "text": "two", "pred_text": "too"},
        {"audio": "c.wav", "offset": 4, "text": "three"},
    ]
    assert contents(jsonl(tmp_path / name, *lines)) == [
        ("a.wav", "one", "", "", 0.3, 0.6, None),
        ("/b.wav", "two", "", "", 0.0, 2, None),
        ("c.wav", "three", "", "", 4, None, None),
    ]


def test_a_compressed_manifest_is_read_by_what_it_is(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"audio": "a.wav", "text": "one"}\n'))
    assert contents(path) == [("a.wav", "one", "", "", 0.0, None, None)]


@pytest.mark.parametrize(
    "line, complaint",
    [
        (
            {"audio": "a.wav", "start": 1, "offset": 1, "text": "x"},
            "it has both start and offset, which mean the same",
        ),
        (
            {"audio": "a.wav", "audio_filepath": "a.wav", "text": "x"},
            "it has both audio and audio_filepath",
        ),
        ({"text": "x"}, "it has no audio or audio_filepath"),
        (
            {"audio": "a.wav", "txt": "x"},
            "it has no field 'text', but one called 'txt': call it 'text', or something",
        ),
        (
            {"audio": "a.wav", "text": "x", "speeker": "y"},
            "it has no field 'speaker', but one called 'speeker'",
        ),
        (
            {"audio": "a.wav", "text": "x", "durations": 1},
            "it has no field 'duration', but one called 'durations'",
        ),
        (
            {"audiofilepath": "a.wav", "text": "x"},
            "it has no field 'audio_filepath', but one called 'audiofilepath'",
        ),
        ({"Audio": "a.wav", "Text": "x"}, "it has no field 'audio', but one called 'Audio'"),
        ({"audio": "s3://b/a.wav", "text": "x"}, "audio 's3://b/a.wav' is an address"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(tmp_path, line, complaint):
    path = jsonl(tmp_path / "a.jsonl", {"audio": "a.wav", "text": "fine"}, line)
    assert refusal(path).startswith(f"{path}, line 2: {complaint}")


@pytest.mark.parametrize("field", ["begin", "start_time", "end", "end_time", "stop"])
def test_a_part_that_is_said_in_other_words_is_not_taken_for_the_whole(tmp_path, field):
    line = {"audio": "a.wav", "text": "x", "start": 1, field: 2}
    assert refusal(jsonl(tmp_path / "a.jsonl", line)) == (
        f"{tmp_path}/a.jsonl, line 1: its field {field!r} is not read: say which part is meant "
        "with start and duration, in seconds."
    )
    path = jsonl(tmp_path / "a.jsonl", line | {"duration": 1})
    assert contents(path) == [("a.wav", "x", "", "", 1, 1, None)]


def test_common_voice(tmp_path):
    path = tmp_path / "train.tsv"
    rows = [
        'c1\tcommon_voice_de_1.mp3\t7\t"Ja", sagte er\t\t2\t0\tteens\tmale\t\t\tde\t',
        "c2\tcommon_voice_de_2\t8\tZwei\u2028Drei\t\t2\t0\t\t\t\t\tde\t",
        "c2\tcommon_voice_de_3.mp3\t9\t\t\t2\t0\t\t\t\t\tde\t",
    ]
    path.write_text("\n".join([COMMON_VOICE, *rows]) + "\n", encoding="utf-8-sig")
    assert contents(path) == [
        ("common_voice_de_1.mp3", '"Ja", sagte er', "c1", "de", 0.0, None, None),
        ("common_voice_de_2.mp3", "Zwei\u2028Drei", "c2", "de", 0.0, None, None),
        Skipped(
            "common_voice_de_3.mp3", "no text: it does not say what is said", f"{path}, line 4"
        ),
    ]
    assert entries_of(path)[0].path == tmp_path / "clips/common_voice_de_1.mp3"


@pytest.mark.parametrize("header, row, complaint", [
    ("path\tsentance", "a.mp3\tx", "line 1: it has no field 'sentence', but one called 'sentance'"),
    ("path\ttext", "a.mp3\tx", "line 1: it has no sentence"),
    ("path\tsentence\tsentence", "a.mp3\tx\ty", "line 1: two of its columns have the same name"),
    ("path\tsentence", "a.mp3", "line 2: it has 1 cells, and the header has 2"),
    ("path\tsentence", "a.mp3\tx\ty", "line 2: it has 3 cells, and the header has 2"),
    ("path\tsentence", "\tx", "line 2: its path is empty"),
])  # fmt: skip
def test_tables_that_are_not_common_voices_are_refused(tmp_path, header, row, complaint):
    path = tmp_path / "a.tsv"
    path.write_text(f"{header}\n{row}\n")
    assert refusal(path).startswith(f"{path}, {complaint}")


@pytest.mark.parametrize("column", ["transcription", "text", "sentence"])
def test_an_audiofolder_with_a_csv_file(tmp_path, column):
    path = tmp_path / "metadata.csv"
    path.write_text(
        f'file_name,{column},speaker,mood\r\na.wav,"one, ""two""\nthree",ann,merry\r\n\r\n'
        f"sub/b.flac,\u2028x,,\r\nc.wav,,,\r\n",
        newline="",
    )
    expected = [
        ("a.wav", 'one, "two"\nthree', "ann", "", 0.0, None, None),
        ("sub/b.flac", "\u2028x", "", "", 0.0, None, None),
        Skipped("c.wav", "no text: it does not say what is said", f"{path}, line 6"),
    ]
    assert contents(path) == contents(tmp_path) == expected
    assert entries_of(path)[1].where == f"{path}, line 5"


def test_an_audiofolder_with_json_lines_in_several_folders(tmp_path):
    for part in ("test", "train"):
        (tmp_path / part).mkdir()
        jsonl(
            tmp_path / part / "metadata.jsonl",
            {"file_name": "0.wav", "text": f"in {part}", "transcription": None, "speaker": None},
            {"file_name": "1.wav", "transcription": "said", "text": "not this"},
        )
    found = entries_of(tmp_path)
    assert [(each.path, each.text) for each in found if isinstance(each, Entry)] == [
        (tmp_path / "test/1.wav", "said"),
        (tmp_path / "train/1.wav", "said"),
    ]
    assert [each.reason for each in found if isinstance(each, Skipped)] == [
        "no text: it does not say what is said"
    ] * 2


@pytest.mark.parametrize("content, complaint", [
    ("file_name,txt\na.wav,x\n", "line 1: it has no field 'text', but one called 'txt'"),
    ("file_name,words\na.wav,x\n", "line 1: it has no transcription or text or sentence"),
    ("file,text\na.wav,x\n", "line 1: it has no file_name"),
    ('file_name,text\na.wav,"x\nb.wav,y\n', "line 2: unexpected end of data"),
    ('file_name,text\na.wav,"x"y\n', "line 2: ',' expected after '\"'"),
    ("file_name,text\na.wav,x\ry\n", "line 2: new-line character seen in unquoted field."),
    ("file_name,text\na.wav,x,y\n", "line 2: it has 3 cells, and the header has 2"),
    ("file_name,text\n,y\n", "line 2: its file_name is empty"),
    ("file_name,text\na.wav," + 200_000 * "x", "line 2: field larger than field limit (131072)."),
    ("file_name,text\na\0.wav,y\n", "line 2: audio 'a\\x00.wav' holds the character NUL"),
])  # fmt: skip
def test_a_damaged_csv_file_is_refused_with_its_line(tmp_path, content, complaint):
    path = tmp_path / "metadata.csv"
    path.write_text(content, newline="")
    assert refusal(path).startswith(f"{path}, {complaint}")


def test_librispeech(tmp_path):
    chapter = tmp_path / "train-clean-5" / "84" / "121123"
    chapter.mkdir(parents=True)
    (chapter / "84-121123.trans.txt").write_text(
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT\x85NO\n84-121123-0002\n"
    )
    (chapter / "84-121123-0000.flac").touch()
    (chapter / "84-121123-0001.wav").touch()
    for root in (tmp_path, tmp_path / "train-clean-5", chapter):
        assert contents(root) == [
            ("84-121123-0000.flac", "GO DO YOU HEAR", "84", "", 0.0, None, None),
            ("84-121123-0001.wav", "BUT\x85NO", "84", "", 0.0, None, None),
            Skipped("84-121123-0002.flac", "no text: it does not say what is said",
                    f"{chapter}/84-121123.trans.txt, line 3"),
        ]  # fmt: skip
        assert entries_of(root)[0].path == chapter / "84-121123-0000.flac"


def test_a_folder_that_is_no_corpus_says_what_would_be_one(tmp_path):
    (tmp_path / "train.tsv").write_text(COMMON_VOICE)
    assert refusal(tmp_path).startswith(f"{tmp_path} is a folder, and no corpus: it holds none of")
    assert "such as Common Voice's train.tsv" in refusal(tmp_path)


def test_a_folder_of_two_layouts_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,text\n")
    (tmp_path / "a.trans.txt").write_text("")
    assert refusal(tmp_path) == (
        f"{tmp_path} holds an audiofolder's metadata and LibriSpeech's transcripts: name the file "
        "or folder of one."
    )


def test_folders_are_searched_to_any_depth_and_once(tmp_path):
    deep = tmp_path.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    jsonl(deep / "metadata.jsonl", {"file_name": "0.wav", "text": "x"})
    (deep / "again").symlink_to(tmp_path)
    (tmp_path / "z").symlink_to(deep)
    (entry,) = entries_of(tmp_path)
    assert entry.path == deep / "0.wav"


def test_folders_that_lie_in_themselves_end(tmp_path):
    (tmp_path / "again").symlink_to(tmp_path)
    assert re.match(".* is a folder, and no corpus", refusal(tmp_path))


def test_a_folder_that_cannot_be_searched_is_not_passed_over(tmp_path, monkeypatch):
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "0.wav", "text": "x"})
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def denied(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    assert refusal(tmp_path) == f"{tmp_path}/closed cannot be read: Permission denied."


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv", "metadata.csv"])
def test_an_empty_file_has_no_entries(tmp_path, name):
    (tmp_path / name).write_text("\n \n")
    assert entries_of(tmp_path / name) == []
