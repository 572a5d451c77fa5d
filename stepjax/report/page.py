"""report.html: a run on one page that opens without a network.

    verdict  >  key numbers  >  loss and devices over the steps  >  every recovery: rings, phases  >
     held-out, config

Made of events.jsonl, metrics.jsonl, result.json and config.json, and of as much of them as there
is.
"""

import html
import json
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from parallel.show import words
from parallel.show.chart import Line, Mark, chart, stepped, thinned
from parallel.show.svg import BLUE, GREEN, GREY, ORANGE, RED, tag
from stepjax.disk.files import replace
from stepjax.report.goodput import goodput
from stepjax.report.markup import said, seconds, section, table
from stepjax.report.recoveries import recoveries
from stepjax.report.story import Story, load, setting, verdict
from stepjax.train.events import Evaluation, Generation, Recovery

MOST_EVALUATIONS = 12
MOST_LETTERS = 400  # of one value in the table of settings


def write(workdir: str | Path) -> Path:
    """Writes `workdir`/report.html from what the other files of `workdir` say.

    Returns: where it is.
    """
    path = Path(workdir) / "report.html"
    replace(path, page(load(Path(workdir))))
    return path


def page(story: Story) -> str:
    parts = [
        heading(story),
        cards(story),
        losses(story),
        devices(story),
        goodput(story),
        *recoveries(story),
        heldout(story),
        settings(story),
    ]
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        tag("title", html.escape(f"{story.name}: training report")),
        tag("style", resources.files("stepjax.report").joinpath("report.css").read_text("utf-8")),
    ]
    main = tag("main", "\n".join(filter(None, parts)))
    whole = tag("head", "\n".join(head)) + "\n" + tag("body", main)
    return "<!doctype html>\n" + tag("html", whole, lang="en") + "\n"


def heading(story: Story) -> str:
    notes = "".join(tag("li", html.escape(note)) for note in story.notes)
    return (
        said(f"Training report · {story.name}", class_="eyebrow")
        + tag("h1", html.escape(verdict(story)))
        + (said(setting(story.start), class_="lead") if story.start else "")
        + (tag("ul", notes, class_="notes") if notes else "")
    )


def cards(story: Story) -> str:
    n = story.numbers
    took = sum(line.seconds for line in story.steps)
    shown = [
        ("Steps", words.number(n.steps), f"{words.clock(took)} of training"),
        ("Loss", words.number(n.final_loss), f"from {words.number(n.first_loss)}"),
        ("Tokens a second", words.number(n.tokens_per_second), "median step"),
        ("Nodes lost", words.number(n.faults), f"{n.rejoins} came back"),
    ]
    if pauses := n.recovery_seconds:
        shown.append(("Longest recovery", seconds(max(pauses)), f"shortest {seconds(min(pauses))}"))
    if n.samples_lost is not None and n.samples_repeated is not None:
        shown.append(
            ("Samples lost", words.number(n.samples_lost), f"{n.samples_repeated} repeated")
        )
    for score in story.of(Evaluation)[-1:]:
        shown.append(("Held-out WER", words.share(score.wer), f"CER {words.share(score.cer)}"))
    return tag("section", "".join(card(*each) for each in shown), class_="cards")


def card(name: str, value: str, note: str) -> str:
    return tag(
        "div", tag("span", name) + tag("b", html.escape(value)) + tag("small", html.escape(note))
    )


def losses(story: Story) -> str:
    steps = [line.step for line in story.steps]
    text, audio = (
        [line.loss_text for line in story.steps],
        [line.loss_audio for line in story.steps],
    )
    lines = [
        Line("text", steps, text, BLUE, width=2.2),
        Line("audio", steps, audio, ORANGE, "7 4", 2.2),
        Line("weighted sum", steps, [line.loss for line in story.steps], GREY, "2 3", 1.6),
    ]
    lines = [thinned(line) for line in lines if any(y is not None for y in line.ys)]
    if not lines:
        return section("Loss", said("No step has been logged."))
    note = said("Mean loss of a token, in nats.", class_="note")
    return section("Loss", note, chart(lines, marks(story), height=300))


def marks(story: Story) -> list[Mark]:
    found = []
    for recovery in story.of(Recovery):
        if recovery.lost:
            found.append(Mark(recovery.step, f"{words.nodes(recovery.lost)} lost", RED))
        if recovery.back:
            found.append(Mark(recovery.step, f"{words.nodes(recovery.back)} back", GREEN, "5 3"))
    return found


def devices(story: Story) -> str:
    last_at = {generation.step: generation for generation in story.of(Generation)}
    if not last_at or not story.start or not story.steps:
        return ""
    steps, per_node = sorted(last_at), story.start.gpus_per_node
    alive = [len(last_at[step].alive) * per_node for step in steps]
    used = [last_at[step].devices for step in steps]
    whole = [story.start.num_nodes * per_node] * len(steps)
    lines = [
        Line("in rings", steps, used, BLUE, fill="#dfeaf5"),
        Line("alive", steps, alive, GREEN, "7 4"),
        Line("all", steps, whole, GREY, "2 3", 1.6),
    ]
    until = max(story.steps[-1].step, *steps)
    lines = [stepped(line, until) for line in lines]
    drawn = chart(lines, marks(story), from_zero=True, height=170)
    note = "A device that is alive but in no ring waits for neighbours to form one with."
    return section("Devices", said(note, class_="note"), drawn)


def heldout(story: Story) -> str:
    evaluations = story.of(Evaluation)
    if not evaluations:
        return ""
    every = math.ceil(len(evaluations) / MOST_EVALUATIONS)
    rows = [
        [f"{e.step:,}", words.number(e.loss), words.share(e.wer), words.share(e.cer)]
        for e in reversed(evaluations[::-every])  # the last one is always told
    ]
    note = (
        "Word and character error rates of what the model transcribes of recordings it was not "
        "trained on."
    )
    head = ("after step", "loss", "WER", "CER")
    return section("Held out", said(note, class_="note"), table(head, rows, class_="numbers"))


def settings(story: Story) -> str:
    """Every value of result.json and config.json, and the fault plan."""
    plan = [("plan", story.start.plan)] if story.start else []
    parts = [
        ("Faults", plan),
        ("Result", list(flat(story.result))),
        ("Config", list(flat(story.config))),
    ]
    tables = ""
    for title, values in parts:
        rows = [(html.escape(name), html.escape(shown(value))) for name, value in values]
        if rows:
            tables += tag("h3", title) + table((), rows)
    return section("Settings and numbers", tables, class_="settings") if tables else ""


def flat(value: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything inside."""
    for key, inside in value.items():
        if isinstance(inside, dict) and inside:
            yield from flat(inside, f"{name}{key}.")
        else:
            yield f"{name}{key}", inside


def shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} ..."
