"""report.html: a run on one page that opens without a network.

    verdict  >  key numbers  >  loss and devices over the steps  >  every recovery: rings, phases  >
     held-out, config

Made of events.jsonl, metrics.jsonl, result.json and config.json, and of as much of them as there
is.
"""

import html
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parallel.show import words
from parallel.show.chart import Line, Mark, chart, stacked_bar, stepped, tag, thinned
from parallel.show.fabric import fabric_svg
from stepjax.disk.files import replace
from stepjax.report.story import Story, load, setting, verdict
from stepjax.report.style import STYLE
from stepjax.train.events import Evaluation, Generation, Recovery, Start

Rings = list[list[int]]

BLUE, ORANGE, GREY, RED, GREEN = "#1f5a93", "#d0782a", "#9aa3ad", "#b3372f", "#2c7a51"
# name -> (what happens in it, ink); inks are light and dark in turn, so that they differ in grey
PHASES = {
    "notice": ("from the loss until the trainer knew of it", "#c3c9d1"),
    "placement": ("which rings the nodes can form now", "#1f5a93"),
    "circuits": ("transceivers switched to these rings", "#a9cdec"),
    "mesh": ("the device mesh along these rings", "#2c7a51"),
    "programs": ("programs for this mesh, compiled or at hand", "#bfe0c4"),
    "state": ("parameters and optimizer state brought over", "#a8551c"),
    "step": ("the interrupted step, done again", "#f1c999"),
}
SOURCES = {
    "replica": "a live replica",
    "neighbour": "the copies that ring neighbours keep",
    "checkpoint": "the last checkpoint",
}
SIDE_BY_SIDE = 16  # nodes; larger fabrics are drawn one above the other
MOST_NODES_DRAWN = (
    1000  # over all recoveries, for a page of a few MB; later recoveries are told in words
)
MOST_EVALUATIONS = 12
MOST_LETTERS = 400  # of one value in the table of settings


def write(workdir: str | Path) -> Path:
    """Writes `workdir`/report.html from what the other files of `workdir` say. Returns where it
    is.
    """
    path = Path(workdir) / "report.html"
    replace(path, page(load(Path(workdir))))
    return path


def page(story: Story) -> str:
    parts = [heading(story), cards(story), losses(story), devices(story), *recoveries(story), heldout(story),
             settings(story)]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(story.name)}: training "
        f"report</title>\n<style>{STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(filter(None, parts))}\n</main></body></html>\n"
    )


def section(title: str, *inside: str, **attributes: str) -> str:
    return tag("section", tag("h2", html.escape(title)) + "".join(inside), **attributes)


def said(sentence: str, **attributes: str) -> str:
    return tag("p", html.escape(sentence), **attributes)


def seconds(s: float) -> str:
    return words.seconds(s).replace("us", "µs").replace(" ", "\u00a0")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], **attributes: str) -> str:
    """Cells are markup."""
    top = tag("thead", tag("tr", "".join(tag("th", each) for each in head))) if head else ""
    body = "".join(tag("tr", "".join(tag("td", cell) for cell in row)) for row in rows)
    return tag("table", top + tag("tbody", body), **attributes)


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
        if recovery.gone:
            found.append(Mark(recovery.step, f"{words.nodes(recovery.gone)} lost", RED))
        if recovery.back:
            found.append(Mark(recovery.step, f"{words.nodes(recovery.back)} back", GREEN, "5 3"))
    return found


def devices(story: Story) -> str:
    last_at = {generation.step: generation for generation in story.of(Generation)}
    if not last_at or not story.start or not story.steps:
        return ""
    steps, per_node = sorted(last_at), story.start.gpus_per_node
    until = max(story.steps[-1].step, *steps)
    alive = [len(last_at[step].alive) * per_node for step in steps]
    used = [last_at[step].devices for step in steps]
    whole = [story.start.num_nodes * per_node] * len(steps)
    lines = [Line("in rings", steps, used, BLUE, fill="#dfeaf5"), Line("alive", steps, alive, GREEN, "7 4"),
             Line("all", steps, whole, GREY, "2 3", 1.6)]  # fmt: skip
    drawn = chart(
        [stepped(line, until) for line in lines], marks(story), from_zero=True, height=170
    )
    note = "A device that is alive but in no ring waits for neighbours to form one with."
    return section("Devices", said(note, class_="note"), drawn)


def recoveries(story: Story) -> Iterator[str]:
    """A section each; the bars of all of them have one scale."""
    longest = max(
        (sum(took for _, took in phases(recovery)) for recovery in story.of(Recovery)), default=0
    )
    generations = story.of(Generation)
    rings = in_place(generations)
    num_nodes = story.start.num_nodes if story.start else MOST_NODES_DRAWN
    for number, rewiring in enumerate(story.rewirings(), 1):
        recovery, before, after = rewiring.recovery, rewiring.before, rewiring.after
        yield section(
            f"Step {recovery.step:,}: {words.change(recovery.gone, recovery.back)}",
            said(in_words(recovery, None if after is None else generations[after])),
            pictures(story, before, after, rings, drawn=number * num_nodes <= MOST_NODES_DRAWN),
            timing(recovery, longest),
        )


def pictures(
    story: Story, before: int | None, after: int | None, rings: Sequence[Rings], drawn: bool
) -> str:
    """Rings before and after, as far as they are known; wires that are new are marked."""
    known = wires(rings[before if before is not None else after]) if after is not None else set()
    figures = []
    for name, which in (("Before", before), ("After", after)):
        if which is not None:
            generation = story.of(Generation)[which]
            inside = (
                drawing(story.start, generation, rings[which], wires(rings[which]) - known)
                if drawn
                else ""
            )
            caption = html.escape(f"{name}: {words.rings(generation.groups, room=110)}")
            figures.append(tag("figure", inside + tag("figcaption", caption)))
    wide = story.start and story.start.num_nodes > SIDE_BY_SIDE
    return tag("div", "".join(figures), class_="pile" if wide else "pair")


def in_words(recovery: Recovery, after: Generation | None) -> str:
    again = ""
    if recovery.steps_lost:
        again = f", and {words.counted(recovery.steps_lost, 'step')} had to be done again"
    parts = [
        f"Training went on {seconds(recovery.seconds)} later{again}.",
        f"The state came from {SOURCES.get(recovery.state_from, recovery.state_from)}.",
    ]
    if after:
        bundles = f"{words.counted(after.switched, 'bundle')} of transceivers switched"
        parts += [
            f"{bundles}, which takes the hardware {seconds(after.switch_seconds)}.",
            f"{words.counted(after.devices, 'device')} went on.",
        ]
    return " ".join(parts)


def drawing(
    start: Start | None, generation: Generation, rings: Rings, new: Collection[tuple[int, int]]
) -> str:
    if start is None:
        return said("Nothing tells what fabric this is.", class_="note")
    try:
        svg = fabric_svg(
            start.num_nodes,
            start.gpus_per_node,
            start.hops,
            rings,
            generation.away,
            wraps=start.fabric == "ring",
            switched=sorted(new),
        )
    except ValueError as reason:
        return said(f"These rings cannot be drawn: {reason}", class_="note")
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")  # inside a page it says nothing


def wires(groups: Sequence[Sequence[int]]) -> set[tuple[int, int]]:
    return {pair for group in groups for pair in zip(group, group[1:], strict=False)}


def in_place(generations: Sequence[Generation]) -> list[Rings]:
    """The rings of every generation, each at the place it had before: the drawing gives places
    their colours.

    """
    found, last = [], []
    for generation in generations:
        groups = [list(group) for group in generation.groups]
        places = [group if group in groups else [] for group in last]
        places += [[]] * (len(groups) - len(places))
        for group in groups:
            if group not in places:
                free = [i for i, place in enumerate(places) if not place]
                shared = [len(set(group) & set(last[i])) if i < len(last) else 0 for i in free]
                places[free[shared.index(max(shared))]] = group
        last = [new or old for new, old in zip(places, last + [[]] * len(places), strict=False)]
        found.append(places)
    return found


def phases(recovery: Recovery) -> list[tuple[str, float]]:
    took = ((name, recovery.phases.get(name)) for name in PHASES)
    return [(name, seconds) for name, seconds in took if seconds is not None]


def timing(recovery: Recovery, longest: float) -> str:
    """A bar of the phases, and their seconds in a table."""
    took = phases(recovery)
    if not took or not longest:
        return ""
    bar = stacked_bar([(name, s, PHASES[name][1]) for name, s in took], longest)
    rows = [
        (f'<i style="background:{PHASES[name][1]}"></i>{name}', PHASES[name][0], seconds(s))
        for name, s in took
    ]
    return bar + table((), rows, class_="phases")


def heldout(story: Story) -> str:
    evaluations = story.of(Evaluation)
    if not evaluations:
        return ""
    every = -(-len(evaluations) // MOST_EVALUATIONS)
    rows = [
        [f"{e.step:,}", words.number(e.loss), words.share(e.wer), words.share(e.cer)]
        for e in evaluations[::-1][::every][::-1]
    ]
    note = "Word and character error rates of what the model transcribes of recordings it was not trained on."
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
    tables = "".join(
        tag("h3", title) + table((), [(html.escape(name), html.escape(shown(value))) for name, value in rows])
        for title, rows in parts if rows
    )  # fmt: skip
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
