"""Damaged manifests, by the hundred, in every layout that is read.

A manifest is either refused in one sentence that names it, or each of its lines is trained on, held
out, or counted with a reason.
"""

import csv
import gzip
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from stepjax.data.manifest import manifest

NAMES = [f"{k:02d}.wav" for k in range(12)]
WORDS = ["one", "zwei", "\u2028 trois", "четыре", "五", 'six, "seven"', "x" * 70]


def jsonl(lines):
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def texts(rng):
    return [str(rng.choice(WORDS)) for _ in NAMES]


def ours(rng):
    lines = [
        {
            "audio": name,
            "text": text,
            "speaker": "ann",
            "language": "en",
            "start": 0.1,
            "duration": 0.3,
            "channel": 0,
        }
        for name, text in zip(NAMES, texts(rng), strict=True)
    ]
    return {"a.jsonl": jsonl(lines)}, "a.jsonl"


def nemo(rng):
    lines = [{"audio_filepath": name, "text": text, "offset": 0, "duration": 0.5}
             for name, text in zip(NAMES, texts(rng), strict=True)]  # fmt: skip
    return {"a.json": jsonl(lines)}, "a.json"


def recordings():
    return [
        {
            "id": name,
            "sources": [{"type": "file", "channels": [0], "source": name}],
            "sampling_rate": 8000,
            "num_samples": 4800,
            "duration": 0.6,
        }
        for name in NAMES
    ]


def supervisions(rng):
    return [
        {
            "id": f"s{name}",
            "recording_id": name,
            "start": 0.0,
            "duration": 0.6,
            "channel": 0,
            "text": text,
            "speaker": "ann",
        }
        for name, text in zip(NAMES, texts(rng), strict=True)
    ]


def lhotse_cuts(rng):
    both = zip(recordings(), supervisions(rng), strict=True)
    cuts = [
        {
            "id": f"c{k}",
            "start": 0.0,
            "duration": 0.6,
            "channel": 0,
            "supervisions": [said],
            "recording": heard,
            "type": "MonoCut",
        }
        for k, (heard, said) in enumerate(both)
    ]
    return {"cuts.jsonl": jsonl(cuts)}, "cuts.jsonl"


def lhotse_cuts_compressed(rng):
    files, _ = lhotse_cuts(rng)
    return {"cuts.jsonl.gz": files["cuts.jsonl"]}, "cuts.jsonl.gz"


def lhotse_pair(rng):
    files = {
        "recordings.jsonl": jsonl(recordings()),
        "supervisions.jsonl": jsonl(supervisions(rng)),
    }
    return files, ("supervisions.jsonl", "recordings.jsonl", ".")[rng.integers(3)]


def common_voice(rng):
    rows = [f"client\t{name}\t{text}\tde" for name, text in zip(NAMES, texts(rng), strict=True)]
    return {
        "train.tsv": "\n".join(["client_id\tpath\tsentence\tlocale", *rows]) + "\n"
    }, "train.tsv"


def audiofolder_csv(rng):
    rows = [f'{name},"{text.replace(chr(34), chr(34) * 2)}",ann'
            for name, text in zip(NAMES, texts(rng), strict=True)]  # fmt: skip
    return {"metadata.csv": "\n".join(["file_name,transcription,speaker", *rows]) + "\n"}, "."


def audiofolder_jsonl(rng):
    lines = [
        {"file_name": name, "text": text} for name, text in zip(NAMES, texts(rng), strict=True)
    ]
    return {"metadata.jsonl": jsonl(lines)}, "metadata.jsonl"


def librispeech(rng):
    lines = [f"{Path(name).stem} {text}" for name, text in zip(NAMES, texts(rng), strict=True)]
    return {"00.trans.txt": "\n".join(lines) + "\n"}, "."


LAYOUTS = [
    ours,
    nemo,
    lhotse_cuts,
    lhotse_cuts_compressed,
    lhotse_pair,
    common_voice,
    audiofolder_csv,
    audiofolder_jsonl,
    librispeech,
]
VALUES = [
    "null",
    "true",
    "-1",
    "1e999",
    "1" + "0" * 400,
    "1" + "0" * 5_000,
    "NaN",
    '""',
    '" "',
    "[]",
    "{}",
    "7.5",
    '"\\ud83d"',
    '"a\\u0000b"',
    '"~nobody-of-this-name/a"',
    '"https://host/a.wav"',
    '"gone.wav"',
    '"gone\\n\\u001b.wav"',
    "[[[[",
    '"\\u2028"',
    "0.59",
    '"' + "word " * 900 + '"',
]


def flip_bits(rng, content):
    content = bytearray(content)
    for position in rng.integers(len(content), size=rng.integers(1, 6)):
        content[position] ^= 1 << rng.integers(8)
    return bytes(content)


def truncate(rng, content):
    return content[: rng.integers(1, len(content))]


def other_value(rng, content):
    """A value becomes another, or a cell does."""
    value = str(rng.choice(VALUES)).encode()
    spans = [m.span(1) for m in re.finditer(rb'": *("[^"]*"|[0-9.]+)', content)]
    spans = spans or [m.span() for m in re.finditer(rb"[^\t\n, ]+", content)]
    first, last = spans[rng.integers(len(spans))]
    return content[:first] + value + content[last:]


def misspell(rng, content):
    """One letter goes from a name, or is there twice."""
    names = [m.start(1) for m in re.finditer(rb'"(\w{4,})" *:', content)] or [0]
    position = names[rng.integers(len(names))] + int(rng.integers(1, 3))
    return content[:position] + content[position + int(rng.choice([1, -1])) :]


def shuffle_lines(rng, content):
    """Lines come in another order, some twice, some not at all."""
    lines = content.split(b"\n")
    return b"\n".join(lines[k] for k in rng.integers(len(lines), size=len(lines)))


def insert_text(rng, content):
    other = [
        b"\n",
        b"\r",
        b"\xff",
        b"\x00",
        b"\t",
        b'"',
        b",",
        b"{",
        b"\xef\xbb\xbf",
        "\x85\u2028".encode(),
        b"\\",
    ]
    position = int(rng.integers(len(content)))
    return content[:position] + other[rng.integers(len(other))] + content[position:]


def re_encode(rng, content):
    return content.decode().encode(
        str(rng.choice(["utf-8-sig", "utf-16", "utf-32", "cp1251", "utf-7"])), "replace"
    )


DAMAGES = [
    re_encode,
    other_value,
    other_value,
    other_value,
    shuffle_lines,
    misspell,
    insert_text,
    flip_bits,
    truncate,
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with the recordings, of which two are no good."""
    folder = tmp_path_factory.mktemp("sound")
    rng = np.random.default_rng(0)
    for name in NAMES:
        soundfile.write(folder / name, rng.uniform(-0.5, 0.5, 4_800), 8_000)
    (folder / NAMES[3]).write_bytes((folder / NAMES[3]).read_bytes()[:-4_000])
    soundfile.write(folder / NAMES[4], np.zeros(4_800), 8_000)
    return folder


def text_of(path):
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return content.decode("utf-8-sig")


def num_lines(folder, layout):
    """How many utterances the files of a corpus speak of, counted without the code under test."""
    files = layout(np.random.default_rng(0))[0]
    lines = {
        name: [line for line in text_of(folder / name).split("\n") if line.strip()]
        for name in files
    }
    if layout is common_voice:
        return len(lines["train.tsv"]) - 1
    if layout is audiofolder_csv:
        rows = csv.reader(io.StringIO(text_of(folder / "metadata.csv"), newline="\n"), strict=True)
        return sum(bool("".join(row).strip()) for row in rows) - 1
    if layout is lhotse_pair:
        heard, said = ([json.loads(line) for line in lines[name]] for name in sorted(lines))
        names = {line["recording_id"] for line in said}
        return len(said) + sum(line["id"] not in names for line in heard)
    return sum(map(len, lines.values()))


def outcome(folder, sound, number):
    """The refusal of damaged manifest `number`, or its splits."""
    rng = np.random.default_rng(number)
    made, named = LAYOUTS[number % len(LAYOUTS)](rng)
    for name in NAMES:
        (folder / name).symlink_to(sound / name)
    (folder / "clips").symlink_to(sound)
    target = sorted(made)[rng.integers(len(made))]
    for name, content in made.items():
        content = content.encode()
        if name == target:
            for k in sorted(rng.choice(len(DAMAGES), size=rng.integers(1, 3), replace=False)):
                content = DAMAGES[k](rng, content)
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    config = ConfigDict(
        {
            "manifest": str(folder / named),
            "heldout_share": 0.5,
            "max_seconds": 2.0,
            "max_skipped": 0.95,
            "max_tokens_per_second": 80.0,
            "cache": str(folder / "cache"),
        }
    )
    try:
        return [manifest(config, split) for split in ("train", "heldout")]
    except ValueError as error:
        assert type(error) is ValueError, number  # and none of those that Python raises
        return str(error)


def check(folder, sound, numbers):
    read = 0
    for number in numbers:
        inside = folder / str(number)
        inside.mkdir()
        found = outcome(inside, sound, number)
        if isinstance(found, str):
            assert str(inside) in found and "\n" not in found and len(found) < 600, (number, found)
        else:
            read += 1
            counted = sum(len(split) + len(split.skipped) for split in found)
            assert counted == num_lines(inside, LAYOUTS[number % len(LAYOUTS)]), number
            for split in found:
                assert split.identity() and split[0].audio.size and all(split.texts())
                assert all(each.reason and each.where for each in split.skipped)
        shutil.rmtree(inside)
    assert len(numbers) / 4 < read < len(numbers) * 3 / 4


def test_damaged_manifests_are_refused_or_every_line_is_counted(tmp_path, sound):
    check(tmp_path, sound, range(500))


@pytest.mark.slow
def test_many_more_damaged_manifests_are_refused_or_every_line_is_counted(tmp_path, sound):
    check(tmp_path, sound, range(500, 5_500))
