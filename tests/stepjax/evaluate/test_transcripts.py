"""Every recording has its line: a text, or the reason why there is none."""

import json

import begun
import numpy as np
import pytest
import soundfile
import tiny_run

from stepjax.data import sources
from stepjax.evaluate import transcripts
from stepjax.evaluate.error_rates import cer, wer
from stepjax.evaluate.transcripts import Transcript
from stepjax.infer.load import load
from stepjax.infer.transcribe import Transcriber

ROWS = 1  # so that four recordings are two programs' worth


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    begun.run(workdir, tiny_run.config())
    return load(workdir)


@pytest.fixture(scope="module")
def transcriber(loaded):
    return Transcriber(loaded, ROWS)


@pytest.fixture(scope="module")
def heldout():
    return sources.open_source(tiny_run.config().data, "heldout")


def every(source):
    return [source[i] for i in range(len(source))]


@pytest.fixture
def folder(tmp_path, heldout):
    """Three recordings of which the second is too long, a file that is none, and their manifest."""
    rate = 16_000
    soundfile.write(tmp_path / "a.wav", heldout[0].audio, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", np.tile(heldout[1].audio, 9), rate)
    soundfile.write(tmp_path / "c.flac", np.stack([heldout[2].audio] * 2, axis=1), rate)
    (tmp_path / "d.wav").write_text("no sound")
    lines = [{"audio": name, "text": "good morning"} for name in ("a.wav", "b.wav", "c.flac")]
    lines.append({"audio": "a.wav", "text": "good", "start": 0.2, "duration": 0.5})
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def test_files_have_a_line_each_in_their_order(folder, loaded, transcriber, heldout):
    paths = [str(folder / name) for name in ("d.wav", "c.flac", "b.wav", "missing.wav", "a.wav")]
    made = list(transcripts.transcripts(transcriber, transcripts.files(paths, loaded.recipe)))
    assert [each.name for each in made] == paths
    assert [each.reason.split(":")[0] for each in made] == [
        "no header", "", "too long", "unreadable", "",
    ]  # fmt: skip
    assert "the limit is 2 s" in made[2].reason
    assert made[4].text == transcriber.texts([heldout[0]])[0]
    assert str(made[2]).startswith(f"{paths[2]}: not used, too long: ")


def test_a_manifest_brings_what_should_have_been_said(folder, loaded, transcriber):
    recordings = transcripts.manifest(folder / "m.jsonl", loaded.recipe)
    made = list(transcripts.transcripts(transcriber, recordings))
    assert [each.reference for each in made] == ["good morning", "", "good morning", "good"]
    assert [each.name for each in made] == ["a.wav", "b.wav", "c.flac", "a.wav@0.2+0.5"]
    used = [each for each in made if not each.reason]
    said, right = [each.text for each in used], [each.reference for each in used]
    found = transcripts.rates(made)
    assert (found.wer, found.cer, found.recordings) == (wer(right, said), cer(right, said), 3)


def test_how_many_are_heard_at_once_does_not_matter(loaded, transcriber, heldout):
    texts = [transcriber.texts([utterance])[0] for utterance in every(heldout)]
    made = list(transcripts.transcripts(transcriber, every(heldout)))
    assert [each.text for each in made] == texts and len(set(texts)) > 1
    assert [each.reference for each in made] == heldout.texts()


def test_a_corpus_that_is_no_longer_the_one_of_the_run_is_named(tmp_path):
    begun.run(tmp_path, tiny_run.config())
    path = tmp_path / "identity.json"
    engine = sources.open_source(tiny_run.config().data, "heldout").identity()["engine"]
    path.write_text(json.dumps({"corpus.heldout.engine": engine}))
    assert len(list(transcripts.heldout(tmp_path))) == 4
    path.write_text(json.dumps({"corpus.heldout.engine": "another"}))
    with pytest.raises(
        ValueError, match="held-out engine of .*: no longer what the run was scored"
    ):
        list(transcripts.heldout(tmp_path))


def test_a_line_is_one_line_whatever_a_model_says():
    assert str(Transcript("a.wav", "one\ntwo\r three", "", "")) == "a.wav: one two three"


def test_rates_are_exact_and_for_people():
    made = [Transcript("a", "one too", "one two", ""), Transcript("b", "three", "three", "")]
    made.append(Transcript("c", "", "", "silent"))
    assert str(transcripts.rates(made)) == (
        "2 recordings: word error rate 33.3 %, character error rate 8.3 % "
        f"({1 / 3!r} and {1 / 12!r})"
    )


def test_where_nothing_can_be_used_there_is_no_rate():
    with pytest.raises(
        ValueError, match="none of 1 recordings can be used, so there is no error rate"
    ):
        transcripts.rates([Transcript("c", "", "", "silent")])
