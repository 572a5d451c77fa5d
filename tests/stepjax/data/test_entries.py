import re
from pathlib import Path

import pytest

from stepjax.data.entries import Entry, misspelt, one_letter_off, shown

HUGE = 10**400


def test_a_name_tells_one_part_of_a_recording_from_another():
    for fields, name in [
        ({}, "a.wav"),
        ({"start": 1.5}, "a.wav@1.5"),
        ({"duration": 2}, "a.wav@0+2"),
        ({"start": 1, "duration": 0.25, "channel": 0}, "a.wav@1+0.25#0"),
        ({"channel": 1}, "a.wav#1"),
    ]:
        assert Entry("a.wav", "words", **fields).name == name


def test_relative_paths_begin_at_the_folder_of_the_line(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    for audio, path in [("a.wav", "/c/a.wav"), ("/b/a.wav", "/b/a.wav"), ("~/a", "/home/ann/a")]:
        assert Entry(audio, "words", folder=Path("/c")).path == Path(path)


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"audio": 7}, "audio is 7 and should be text"),
        ({"audio": ""}, "audio is '' and should be text"),
        ({"audio": ["a.wav", "b.wav"]}, "audio is ['a.wav', 'b.wav'] and should be text"),
        ({"audio": "a\0.wav"}, "audio 'a\\x00.wav' holds the character NUL"),
        ({"audio": "https://host/a.wav"}, "audio 'https://host/a.wav' is an address"),
        (
            {"audio": "~nobody-of-this-name/a.wav"},
            "audio '~nobody-of-this-name/a.wav' begins with the home folder",
        ),
        ({"audio": "a\udc00"}, "audio holds half a character, U+DC00"),
        ({"text": "one \ud83d"}, "text holds half a character, U+D83D"),
        ({"speaker": "\ud83d"}, "speaker holds half a character, U+D83D"),
        ({"text": " \n"}, "text is ' \\n' and should be text"),
        ({"text": None}, "text is None and should be text"),
        ({"speaker": 3}, "speaker is 3 and should be text"),
        ({"start": HUGE}, "start is 1000000"),
        ({"start": float("inf")}, "start is inf and should be seconds, 0 or more"),
        ({"start": float("nan")}, "start is nan and should be seconds"),
        ({"start": True}, "start is True and should be seconds"),
        ({"start": -0.1}, "start is -0.1 and should be seconds"),
        ({"start": "1"}, "start is '1' and should be seconds"),
        ({"start": None}, "start is None and should be seconds"),
        ({"duration": 0}, "duration is 0 and should be seconds, more than 0"),
        ({"duration": HUGE}, "duration is 1000000"),
        ({"duration": False}, "duration is False and should be seconds"),
        ({"channel": -1}, "channel is -1 and should be a number from 0 to 1023"),
        ({"channel": HUGE}, "channel is 10000"),
        ({"channel": 1.0}, "channel is 1.0 and should be a number from 0 to 1023"),
        ({"channel": True}, "channel is True and should be a number from 0 to 1023"),
        ({"channel": "left"}, "channel is 'left' and should be a number from 0 to 1023"),
    ],
)
def test_nonsense_is_refused_in_a_short_sentence(fields, complaint):
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}") as raised:
        Entry(**{"audio": "a.wav", "text": "words", **fields})
    assert len(str(raised.value)) < 200


def test_all_that_decides_a_sample_is_content():
    entry = Entry("a.wav", "words", "ann", "en", 1.0, 2.0, 1)
    assert entry.content == ("a.wav", "words", "ann", "en", 1.0, 2.0, 1)
    assert Entry("a.wav", "words", folder=Path("/c"), where="x, line 3").content == (
        Entry("a.wav", "words").content
    )


def test_one_letter_decides():
    for word, right in [
        ("txt", "text"),
        ("texts", "text"),
        ("tetx", "text"),
        ("Text", "text"),
        ("speeker", "speaker"),
        ("spaeker", "speaker"),
        ("durations", "duration"),
        ("langauge", "language"),
        ("audio_file_path", "audio_filepath"),
        ("audio-filepath", "audio_filepath"),
        ("ofset", "offset"),
    ]:
        assert one_letter_off(word, right) and one_letter_off(right, word)
    for word, other in [
        ("text", "start"),
        ("lang", "language"),
        ("speaker_id", "speaker"),
        ("sentence_id", "sentence"),
        ("pred_text", "text"),
        ("", "text"),
    ]:
        assert not one_letter_off(word, other) and not one_letter_off(other, word)


def test_a_known_field_that_is_there_excuses_its_likeness():
    assert misspelt(["audio", "text", "texts"], ["audio", "text"]) is None
    assert "one called 'texts': call it 'text'" in misspelt(["texts"], ["audio", "text"])


def test_long_values_are_not_repeated_whole():
    assert shown("a" * 10) == repr("a" * 10)
    assert shown(HUGE).endswith("0...") and len(shown(HUGE)) < 70
