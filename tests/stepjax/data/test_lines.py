import gzip
import re

import pytest

from stepjax.data.lines import Line, fields_of, lines_of, named

SEPARATORS = ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\r"]


def written(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
def test_lines_end_at_a_line_feed_and_blank_ones_count_but_are_left_out(tmp_path, pack):
    path = written(tmp_path, pack(b"\xef\xbb\xbfone\n\n \t\ntwo\r\nthree"))
    assert lines_of(path) == [Line(path, 1, "one"), Line(path, 4, "two"), Line(path, 5, "three")]
    assert lines_of(path)[1].where == f"{path}, line 4"


@pytest.mark.parametrize("separator", SEPARATORS)
def test_nothing_else_ends_a_line(tmp_path, separator):
    path = written(tmp_path, f"one{separator}two\nthree".encode())
    assert [line.text for line in lines_of(path)] == [f"one{separator}two", "three"]


@pytest.mark.parametrize("content, complaint", [
    (b"one\n\xff\xfetwo", ", line 2: the byte 0xff is not UTF-8; wanted is a text file."),
    ("one\n\ntwo".encode("utf-16"), ", line 1: the byte 0xff is not UTF-8"),
    (b"one\n\xed\xa0\xbd", ", line 2: the byte 0xed is not UTF-8"),
    (gzip.compress(b"one\ntwo\n" * 99)[:-20], " cannot be read: its compression is damaged"),
    (gzip.compress(b"one")[:5], " cannot be read: "),
    (b"\x1f\x8bnothing of the kind", " cannot be read: "),
])  # fmt: skip
def test_what_is_no_text_is_refused_with_its_line(tmp_path, content, complaint):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path) + complaint)}"):
        lines_of(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"^{tmp_path}/gone cannot be read: No such file"):
        lines_of(tmp_path / "gone")


@pytest.mark.parametrize("text, complaint", [
    ("{", "it is not a JSON object: Expecting property name enclosed in double quotes at"),
    ('{"a": 1} {', "it is not a JSON object: Extra data at character 10"),
    ("[1]", "it is not a JSON object"),
    ("[" * 100_000, "its brackets are nested too deep"),
    ('{"a": 1' + "0" * 5_000 + "}", "it has a number of 5001 digits"),
    ('{"a": 1, "b": 2, "a": 1}', "it has the field 'a' twice"),
])  # fmt: skip
def test_what_is_no_object_is_refused(text, complaint):
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        fields_of(Line(None, 1, text))


def test_errors_are_named_once(tmp_path):
    with (
        pytest.raises(ValueError, match=r"^a.jsonl, line 3: it is wrong\.$"),
        named(Line("a.jsonl", 3, "")),
    ):
        raise ValueError("it is wrong")
