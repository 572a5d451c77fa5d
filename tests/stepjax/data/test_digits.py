"""Strings of digits: from tones whose pitch tells the digit, and from real voices if present."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from stepjax.data.digits import WORDS, digits

FSDD = Path(__file__).parents[4] / "shared/data/fsdd"
needs_fsdd = pytest.mark.skipif(not FSDD.exists(), reason="shared/data/fsdd is absent")
RATE = 8_000
LENGTHS = {"ann": 0.10, "bob_b": 0.15}  # seconds; a speaker's recordings are known by their length


def config(folder, **changes):
    return ConfigDict(
        {
            "fsdd": str(folder),
            "heldout_below": 2,
            "seed": 0,
            "utterances": 200,
            "heldout": 50,
            "max_digits": 4,
            "gap_seconds": (0.02, 0.05),
            "max_seconds": 3.0,
            "max_skipped": 0.0,
            "augment": {"speed": 0.0, "snr_db": (), "gain_db": 0.0},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Digits 0 to 9 as tones of 200 to 1,100 Hz, indices 0 to 4; higher indices are softer."""
    folder = tmp_path_factory.mktemp("tones")
    (folder / "README.md").write_text("not a recording")
    for speaker, seconds in LENGTHS.items():
        for digit in range(10):
            t = np.arange(round(seconds * RATE)) / RATE
            for index in range(5):
                tone = 0.9 * 0.7**index * np.sin(2 * np.pi * (200 + 100 * digit) * t)
                suffix = "flac" if index == 3 else "wav"
                soundfile.write(folder / f"{digit}_{speaker}_{index}.{suffix}", tone, RATE)
    return folder


def heard(audio_T, speaker):
    """What is really in a string: digits by pitch, indices by loudness, and the gaps in seconds."""
    length = round(LENGTHS[speaker] * 16_000)
    loud = np.flatnonzero(np.convolve(np.abs(audio_T) > 1e-3, np.ones(160), "same") > 0)
    runs = [run for run in np.split(loud, np.flatnonzero(np.diff(loud) > 1) + 1)]
    found, gaps = [], [(b[0] - a[-1]) / 16_000 for a, b in zip(runs, runs[1:], strict=False)]
    for run in runs:
        piece = audio_T[max(run[0], 0) :][:length]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 16_000))
        found.append(
            (
                round((np.argmax(spectrum) - 200) / 100),
                round(np.log(np.abs(piece).max() / 0.9) / np.log(0.7)),
            )
        )
    return found, gaps


def test_what_is_heard_is_what_is_written(folder):
    source = digits(config(folder), "train")
    lengths = set()
    for i in range(100):
        utterance = source[i]
        found, gaps = heard(utterance.audio, utterance.speaker)
        assert utterance.text == " ".join(WORDS[digit] for digit, _ in found)
        assert all(index in (2, 3, 4) for _, index in found)
        assert all(0.005 < gap < 0.07 for gap in gaps)
        lengths.add(len(found))
    assert lengths == {1, 2, 3, 4}
    assert source.texts() == [source[i].text for i in range(200)]


def test_held_out_strings_hold_only_held_out_recordings(folder):
    source = digits(
        config(folder, augment={"speed": 0.1, "snr_db": (5.0, 9.0), "gain_db": 6.0}), "heldout"
    )
    assert len(source) == 50
    for i in range(50):
        found, _ = heard(source[i].audio, source[i].speaker)
        assert all(
            index in (0, 1) for _, index in found
        )  # and never augmented: the noise would be heard
    assert {clip.name for clip in source.clips()} == {
        f"{digit}_{speaker}_{index}"
        for digit in range(10)
        for speaker in LENGTHS
        for index in (0, 1)
    }


@pytest.mark.parametrize("augment", [{}, {"speed": 0.1, "snr_db": (10.0, 40.0), "gain_db": 6.0}])
def test_a_string_is_a_pure_function_of_seed_and_index(folder, augment):
    changes = {"augment": augment}
    one, two = (digits(config(folder, **changes), "train") for _ in range(2))
    backwards = {i: two[i] for i in reversed(range(40))}
    for i in range(40):
        assert (one[i].name, one[i].text) == (backwards[i].name, backwards[i].text)
        np.testing.assert_array_equal(one[i].audio, backwards[i].audio)
    more = digits(config(folder, utterances=1_000_000, **changes), "train")
    np.testing.assert_array_equal(more[7].audio, one[7].audio)
    other = digits(config(folder, seed=1, **changes), "train")
    assert [other[i].text for i in range(9)] != [one[i].text for i in range(9)]


def test_speakers_digits_and_lengths_are_drawn_evenly(folder):
    source = digits(config(folder, utterances=2_000), "train")
    strings = [source[i] for i in range(2_000)]
    words = " ".join(string.text for string in strings).split()
    assert abs(sum(string.speaker == "ann" for string in strings) - 1_000) < 110
    assert all(abs(words.count(word) - len(words) / 10) < 110 for word in WORDS)
    assert all(
        abs(sum(len(s.text.split()) == n for s in strings) - 500) < 100 for n in (1, 2, 3, 4)
    )


def test_no_string_is_too_long_and_none_is_empty(folder):
    for augment in ({}, {"speed": 0.3}):
        source = digits(config(folder, max_seconds=0.36, max_digits=7, augment=augment), "train")
        longest = max(len(source[i].audio) for i in range(200)) / 16_000
        assert 0.25 < longest <= 0.36
        for i in range(200):
            assert len(source[i].text.split()) >= 1


def test_augmentation_changes_the_sound_and_not_the_words(folder):
    plain = digits(config(folder), "train")
    changed = digits(
        config(folder, augment={"speed": 0.1, "snr_db": (10.0, 20.0), "gain_db": 6.0}), "train"
    )
    for i in range(30):
        assert plain[i].text == changed[i].text
        assert changed[i].audio.dtype == np.float32
        assert 0.9 <= len(plain[i].audio) / len(changed[i].audio) <= 1.1
        assert len(plain[i].audio) != len(changed[i].audio)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"fsdd": ""},
            "fsdd='' is no folder with WAV or FLAC files: name one that holds recordings called",
        ),
        ({"fsdd": "/nowhere"}, "fsdd='/nowhere' is no folder with WAV or FLAC files"),
        ({"max_digits": 0}, "max_digits=0 leaves no digit to say"),
        ({"gap_seconds": (0.2, 0.1)}, r"gap_seconds=\(0.2, 0.1\) is not \(least, most\)"),
        ({"heldout": 0}, "heldout=0 leaves the heldout split empty"),
        (
            {"heldout_below": 0},
            "No recording of fsdd=.* falls into the heldout split: heldout_below=0 parts",
        ),
    ],
)
def test_nonsense_is_refused_in_a_sentence(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        digits(config(folder, **changes), "heldout")


@pytest.mark.parametrize("augment, message", [
    ({"speed": 0.9}, "speed=0.9 is not a share from 0 to 0.5"),
    ({"snr_db": (30.0, 10.0)}, r"snr_db=\(30.0, 10.0\) is not \(\) or \(least, most\)"),
    ({"gain_db": -1.0}, "gain_db=-1 is below 0"),
])  # fmt: skip
def test_impossible_augmentation_is_refused(folder, augment, message):
    with pytest.raises(ValueError, match=message):
        digits(config(folder, augment=augment), "train")


def test_a_folder_without_recordings_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to hear")
    with pytest.raises(ValueError, match="is no folder with WAV or FLAC files"):
        digits(config(tmp_path), "train")


def test_what_is_broken_or_misnamed_is_skipped(tmp_path):
    tone = 0.5 * np.sin(np.arange(1_600))
    for name in (
        "1_ann_0.wav",
        "2_ann_1.wav",
        "3_ann_2.WAV",
        "11_ann_2.wav",
        "ann.wav",
        "4_ann_9.wav",
    ):
        soundfile.write(tmp_path / name, tone, 16_000, format="WAV")
    (tmp_path / "5_ann_7.wav").write_bytes(b"")
    (tmp_path / "6_ann_1.wav").write_bytes(b"")  # held out: not this split's concern
    with pytest.raises(ValueError, match="3 of 5 recordings of .* cannot be used"):
        digits(config(tmp_path), "train")
    source = digits(config(tmp_path, max_skipped=0.6), "train")
    assert {each.name: each.reason.split(":")[0] for each in source.skipped} == {
        "11_ann_2.wav": "misnamed", "ann.wav": "misnamed", "5_ann_7.wav": "empty"}  # fmt: skip
    assert {clip.name for clip in source.clips()} == {"3_ann_2", "4_ann_9"}
    assert {clip.text for clip in source.clips()} == {"three", "four"}


def test_no_recording_is_passed_over_for_its_ending_or_a_name_that_is_not_utf_8(tmp_path):
    tone = 0.5 * np.sin(np.arange(1_600))
    soundfile.write(tmp_path / "1_ann_2.aiff", tone, 16_000)
    soundfile.write(tmp_path / "2_ann_3.wav", tone, 16_000)
    (tmp_path / "3_ann_4.raw").write_bytes(bytes(3_200))
    shutil.copy(tmp_path / "2_ann_3.wav", tmp_path / "4_a\udcff_5.wav")
    source = digits(config(tmp_path, max_skipped=0.5), "train")
    assert {clip.name for clip in source.clips()} == {"1_ann_2", "2_ann_3"}
    assert [(each.name, each.reason.split(":")[0]) for each in source.skipped] == [
        ("3_ann_4.raw", "no header"),
        (r"4_a\udcff_5.wav", "misnamed"),
    ]


def test_the_identity_is_that_of_the_recordings_of_the_split(tmp_path):
    tones = {f"{digit}_ann_{k}.wav": 200 + 50 * digit + k for digit in range(3) for k in range(4)}
    for name, hertz in tones.items():
        tone = 0.5 * np.sin(np.arange(1_600) * hertz / RATE)
        soundfile.write(tmp_path / name, tone, RATE)
    train, heldout = (digits(config(tmp_path), split).identity() for split in ("train", "heldout"))
    assert train == digits(config(tmp_path, seed=7), "train").identity() != heldout
    (tmp_path / "1_ann_3.wav").write_bytes((tmp_path / "2_ann_3.wav").read_bytes())
    assert digits(config(tmp_path), "heldout").identity() == heldout
    assert digits(config(tmp_path), "train").identity() != train


def test_channels_are_mixed_and_counted_and_other_formats_are_read(tmp_path):
    tone = 0.5 * np.sin(np.arange(4_000) / 3)
    soundfile.write(tmp_path / "1_ann_5.wav", np.stack([tone, tone[::-1]], axis=1), RATE)
    soundfile.write(tmp_path / "2_ann_5.ogg", np.stack([0 * tone, tone], axis=1), RATE)
    soundfile.write(tmp_path / "3_ann_5.mp3", tone, RATE)
    soundfile.write(tmp_path / "4_ann_1.wav", tone, RATE)  # held out
    train = digits(config(tmp_path), "train")
    assert train.mixed == 1 and train.skipped == ()
    assert {clip.name for clip in train.clips()} == {"1_ann_5", "2_ann_5", "3_ann_5"}
    assert train.identity().keys() == {"recordings", "libsndfile", "libsoxr"}


def test_a_library_is_named_only_if_it_decides_the_samples(tmp_path):
    soundfile.write(tmp_path / "1_ann_5.wav", 0.5 * np.sin(np.arange(4_000) / 3), 16_000)
    soundfile.write(tmp_path / "1_ann_0.wav", 0.5 * np.sin(np.arange(4_000) / 3), 16_000)
    faster = {"speed": 0.1, "snr_db": (), "gain_db": 0.0}
    assert digits(config(tmp_path), "train").identity().keys() == {"recordings"}
    assert digits(config(tmp_path, augment=faster), "train").identity().keys() == {
        "recordings",
        "libsoxr",
    }
    assert digits(config(tmp_path, augment=faster), "heldout").identity().keys() == {"recordings"}


@needs_fsdd
def test_real_voices_are_all_usable_and_split_by_index():
    real = config(FSDD, heldout_below=5, max_digits=7, max_seconds=4.0)
    train, heldout = digits(real, "train"), digits(real, "heldout")
    assert train.skipped == heldout.skipped == ()
    assert len(train.clips()) == 1_000
    assert len(heldout.clips()) == 250
    assert {clip.speaker for clip in heldout.clips()} == {
        "george",
        "jackson",
        "lucas",
        "nicolas",
        "yweweler",
    }
    assert max(len(train[i].audio) for i in range(100)) <= 4.0 * 16_000
    assert {word for i in range(100) for word in train[i].text.split()} == set(WORDS)
