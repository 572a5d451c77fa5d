"""A run becomes one page, whole or torn, and the page needs nothing but itself."""

import dataclasses
import hashlib
import json
import math
import random
import re
from html.parser import HTMLParser
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel.fabric.faults import FaultPlan
from parallel.fabric.placement import Placement, rearrange
from parallel.fabric.switchboard import Switchboard
from parallel.fabric.topology import KHopRing
from parallel.show import svg
from stepjax.report import page as report
from stepjax.report import recoveries, story
from stepjax.train import jsonl
from stepjax.train.events import (
    Checkpoint,
    End,
    Evaluation,
    Event,
    Generation,
    Recovery,
    Start,
    StepLine,
    Stop,
    record,
)
from stepjax.train.summary import summary

PLAN = FaultPlan.parse("lose 3 before 14; lose 6 during 25; back 3 before 33")
STEPS, NODES = 60, 8
SECONDS = {
    "notice": 0.21,
    "placement": 9e-5,
    "circuits": 4e-4,
    "mesh": 0.0021,
    "programs": 0.034,
    "state": 0.081,
    "step": 0.44,
}


def run_with_faults(steps: int = STEPS) -> tuple[list[StepLine], list[Event]]:
    """(steps, events) of 8 nodes of 2 on a 2-hop ring, as PLAN says; losses fall as losses do."""
    ring, noise, now = KHopRing(NODES, 2), random.Random(5), 1.75e9
    board, placement, number, away = Switchboard(ring, 2), Placement(), -1, frozenset()
    fabric = dict(num_nodes=NODES, gpus_per_node=2, hops=2, fabric="ring", tensor=4, fsdp=1)
    plan = dict(plan=str(PLAN), resumed=False, steps_lost=0)
    lines, events = [], [Start(0, **fabric, **plan, began=now - 20, time=now)]
    for step in range(steps):
        here = PLAN.away(step)
        if here != away or step == 0:
            placement, number = rearrange(placement, ring, here, 2), number + 1
            switching = board.apply(board.switch(placement.groups, here))
            formed = Generation(
                step,
                generation=number,
                alive=tuple(sorted(set(range(NODES)) - here)),
                away=tuple(sorted(here)),
                groups=placement.groups,
                mesh={"data": len(placement.groups), "fsdp": 1, "tensor": 4},
                devices=4 * len(placement.groups),
                switched=len(switching.commands),
                switch_seconds=switching.seconds,
                time=now,
            )
            events.append(formed)
        if here != away:
            took = {name: seconds * noise.uniform(0.6, 1.3) for name, seconds in SECONDS.items()}
            if here < away:
                took["notice"] = None
            moved = Recovery(
                step,
                generation=number,
                lost=tuple(sorted(here - away)),
                back=tuple(sorted(away - here)),
                phases=took,
                seconds=sum(filter(None, took.values())),
                state_from="replica",
                steps_lost=0,
                time=now,
            )
            events.append(moved)
        away, seconds = here, noise.uniform(0.8, 1.0) * (1.1 + 0.2 * len(here))
        text = 1.1 + 5.0 * math.exp(-step / 16) + noise.gauss(0, 0.06)
        audio = None if step in (7, 8) else 2.6 + 1.6 * math.exp(-step / 25) + noise.gauss(0, 0.05)
        now += seconds
        line = StepLine(
            step,
            loss=0.6 * text + 0.4 * (audio or text),
            loss_text=text,
            loss_audio=audio,
            grad_norm=1 + noise.random(),
            tokens=4100,
            seconds=seconds,
            tokens_per_second=4100 / seconds,
            devices=4 * len(placement.groups),
            generation=number,
            learning_rate=1e-3,
            sample_ids_hash=expected_hash(step),
            time=now,
        )
        lines.append(line)
        if step % 20 == 19:
            wer, cer = 1.2 * math.exp(-step / 20), 0.8 * math.exp(-step / 20)
            events.append(Checkpoint(step + 1, seconds=0.31, time=now))
            events.append(Evaluation(step + 1, wer=wer, cer=cer, loss=text + 0.2, time=now))
    return lines, [*events, End(steps, time=now)]


def expected_hash(step: int) -> str:
    return hashlib.sha256(b"%d" % step).hexdigest()[:16]


def write_run(workdir, lines, events) -> None:
    for name, records in (("metrics.jsonl", lines), ("events.jsonl", events)):
        log = jsonl.Log(workdir / name)
        for each in records:
            log.write(record(each))


def write_result(workdir, **other) -> None:
    files = workdir / "metrics.jsonl", workdir / "events.jsonl"
    found = dataclasses.asdict(summary(*files, expected_hash, 24, STEPS))
    found |= {"heldout": {"wer": 0.06, "cer": 0.04, "loss": 1.3}, "skipped_files": []} | other
    (workdir / "result.json").write_text(json.dumps(found))


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "quick & <dirty>"
    write_run(folder, *run_with_faults())
    write_result(folder)
    return folder


class Page(HTMLParser):
    """Checks that every element is closed where it should be, and collects words and attributes."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.words, self.attributes, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += [(name, *pair) for pair in attributes]
        if name not in self.VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.tags.append(name)
        self.attributes += [(name, *pair) for pair in attributes]

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append(data)


def written(workdir) -> tuple[str, Page]:
    path = report.write(workdir)
    assert path == workdir / "report.html"
    return path.read_text("utf-8"), Page(path.read_text("utf-8"))


def test_the_page_tells_the_run(workdir):
    text, page = written(workdir)
    told = " ".join(page.words)
    assert (
        "The run did its 60 steps, lost 2 nodes on the way, took 1 back, and no sample was lost "
        "or repeated." in told
    )
    assert "8 nodes of 2 devices on a 2-hop ring, tensor-parallel rings of 4 devices." in told
    for title in (
        "Step 14: lost node 3",
        "Step 25: lost node 6",
        "Step 33: node 3 came back",
        "Devices",
        "Held out",
    ):
        assert title in page.words
    assert text.count("<figure>") == 6 and "cannot be drawn" not in told
    assert (
        "Before: rings 0-1 | 2-3 | 4-5 | 6-7" in page.words
        and "After: rings 0-1 | 2-4 | 5-7" in page.words
    )
    assert all(name in page.words for name in SECONDS)
    assert {"node 3 lost", "node 6 lost", "node 3 back"} <= set(page.words)


def test_the_page_needs_nothing_but_itself(workdir):
    text, page = written(workdir)
    assert not re.search(r"https?:|//|url\(|@import|\ssrc=|\shref=", text)
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & set(page.tags)


def test_what_comes_from_files_is_escaped(workdir):
    write_result(workdir, note="<script>alert(1)</script> & more", nested={"a<b": [1, "</td>"]})
    text, page = written(workdir)
    assert "script" not in page.tags and "<dirty>" not in text
    assert "<script>alert(1)</script> & more" in page.words and "nested.a<b" in page.words
    assert any("quick & <dirty>" in word for word in page.words)
    assert Page(svg.text("0", "0", "<b>&")).words == ["<b>&"]


def test_every_number_of_result_and_config_is_on_the_page(workdir):
    (workdir / "config.json").write_text(
        json.dumps({"model": {"decoder": {"width": 128}}, "voices": ["m1", "f2"]})
    )
    write_result(workdir, environment={"jax": "0.10.2"})
    _, page = written(workdir)
    pairs = dict(zip(page.words, page.words[1:], strict=False))
    assert pairs["model.decoder.width"] == "128" and pairs["voices"] == '["m1", "f2"]'
    assert pairs["environment.jax"] == "0.10.2" and pairs["heldout.wer"] == "0.06"


def test_a_torn_run_has_a_page_at_every_byte(tmp_path):
    write_run(tmp_path, *run_with_faults(steps=16))
    for name in ("events.jsonl", "metrics.jsonl"):
        whole = (tmp_path / name).read_bytes()
        for length in [*range(0, len(whole), 499), len(whole) - 1]:
            (tmp_path / name).write_bytes(whole[:length])
            _, page = written(tmp_path)
            assert "result.json is missing." in page.words
            assert any(
                re.match(r"The run (did its \d+ step|has no end yet: \d+ step)", word)
                for word in page.words
            )
        (tmp_path / name).write_bytes(whole)


def test_an_empty_folder_has_a_page_that_says_so(tmp_path):
    _, page = written(tmp_path)
    missing = [word for word in page.words if word.endswith(" is missing.")]
    assert missing == [
        f"{name} is missing." for name in ("metrics.jsonl", "events.jsonl", "result.json")
    ]
    assert "The run has no end yet: 0 steps done so far, and no node was lost." in page.words


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "loss": "high"}\nnonsense\n{"loss": 1}\n')
    (tmp_path / "events.jsonl").write_text(
        '{"event": ["start"]}\n{"event": "recovery", "step": 1}\n[]\n'
    )
    (tmp_path / "result.json").write_text('{"steps": 6')
    (tmp_path / "config.json").write_text("[1]")
    _, page = written(tmp_path)
    files = "3 lines of metrics.jsonl", "3 lines of events.jsonl", "result.json"
    assert {f"{file} could not be read." for file in files} <= set(page.words)


WRONG = [None, "", "<b>", -1, 0, 0.5, 99, True, [], {}, [[]], {"a": "b"}, math.nan, math.inf]


def leaves(value, way=()) -> list[tuple]:
    """The ways to every value inside, containers too."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [way, *(leaf for key, child in inside for leaf in leaves(child, (*way, key)))]


def changed(value, way, into):
    if not way:
        return into
    copy = value.copy()
    copy[way[0]] = changed(value[way[0]], way[1:], into)
    return copy


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    write_run(folder, *run_with_faults(steps=15))
    write_result(folder)
    return folder, {name: (folder / name).read_text().splitlines()
                    for name in ("metrics.jsonl", "events.jsonl", "result.json")}  # fmt: skip


@settings(max_examples=60)
@given(st.data())
def test_any_value_may_be_wrong(small_run, data):
    folder, files = small_run
    name = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[name]) - 1))
    found = json.loads(files[name][at])
    way = data.draw(st.sampled_from(leaves(found)))
    wrong = data.draw(st.sampled_from(WRONG))
    lines = [*files[name][:at], json.dumps(changed(found, way, wrong)), *files[name][at + 1 :]]
    (folder / name).write_text("\n".join(lines) + "\n")
    try:
        written(folder)
    finally:
        (folder / name).write_text("\n".join(files[name]) + "\n")


def test_only_so_many_recoveries_are_drawn_the_others_are_told(workdir, monkeypatch):
    monkeypatch.setattr(recoveries, "MOST_NODES_DRAWN", 2 * NODES)
    _, page = written(workdir)
    assert page.tags.count("figure") == 6 and page.tags.count("figcaption") == 6
    assert sum(name == "svg" and key == "viewbox" and value != "0 0 1000 1000"
               for name, key, value in page.attributes) == 4  # fmt: skip


def test_rings_that_cannot_be_are_told_instead_of_drawn(tmp_path):
    lines, events = run_with_faults(steps=16)
    events = [
        dataclasses.replace(event, groups=((0, 7), (1, 12)))
        if isinstance(event, Generation)
        else event
        for event in events
    ]
    write_run(tmp_path, lines, events)
    _, page = written(tmp_path)
    assert sum(word.startswith("These rings cannot be drawn: ") for word in page.words) == 2


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (End(16), "The run did its 16 steps, lost 1 node on the way, and no sample was lost"),
        (Stop(16, "no ring left."), "The run stopped after 16 steps (no ring left), "),
        (None, "The run has no end yet: 16 steps done so far, "),
    ],
)
def test_the_verdict_knows_how_a_run_ended(tmp_path, last, words):
    lines, events = run_with_faults(steps=16)
    write_run(tmp_path, lines, [*events, last or events[0]])
    (tmp_path / "result.json").write_text('{"samples_lost": 0, "samples_repeated": 0}')
    assert story.verdict(story.load(tmp_path)).startswith(words)


def test_the_verdict_knows_of_skipped_steps(workdir):
    write_result(workdir, skipped_steps=2)
    skipped = ", 2 steps without a finite loss and gradient were skipped, and no sample was lost"
    assert skipped in story.verdict(story.load(workdir))


def test_the_page_tells_where_the_time_went(workdir):
    result = json.loads((workdir / "result.json").read_text())
    _, page = written(workdir)
    assert "Where the time went" in page.words
    share = f"{100 * result['goodput']['share']:.1f} %"
    assert any(word.startswith(f"{share} of 1:3") for word in page.words)
    assert {"stepping", "recovering", "waiting"} <= set(page.words)
    assert "repeating" not in page.words  # there was nothing of it
    write_result(workdir, goodput=None)
    assert "Where the time went" not in written(workdir)[1].words
    (workdir / "result.json").unlink()  # as of a run that goes on: its other files know it
    assert "Where the time went" in written(workdir)[1].words


def test_the_verdict_hides_no_loss(workdir):
    write_result(workdir, samples_lost=24, samples_repeated=48, steps_lost=2)
    assert story.verdict(story.load(workdir)).endswith(
        "took 1 back, 2 steps had to be done again, and 24 samples were lost and 48 repeated."
    )


def test_a_resumed_run_counts_its_generations_again(tmp_path):
    lines, events = run_with_faults(steps=16)
    write_run(tmp_path, lines, [*events[:-1], *events])
    first, second = story.load(tmp_path).rewirings()
    assert (first.before, first.after, second.before, second.after) == (0, 1, 2, 3)


def test_the_page_can_hold_a_long_run(tmp_path):
    line = run_with_faults(steps=1)[0][0]
    long = [
        record(dataclasses.replace(line, step=step, loss=1 / (step + 1))) for step in range(3000)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in long))
    text, _ = written(tmp_path)
    assert len(text) < 200_000


def test_the_page_and_its_pictures_share_their_inks():
    css = resources.files("stepjax.report").joinpath("report.css").read_text("utf-8")
    assert f"--ink: {svg.INK};" in css and f"--quiet: {svg.QUIET};" in css
