"""report.html: a drill on one page that opens without a network.

verdict  >  key numbers  >  rounds by kind  >  seconds by phase  >  a time line of every round
"""

import html
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from parallel.show import words
from parallel.show.chart import Scale
from parallel.show.svg import AXIS, BLUE, GREY, GRID, RED, tag, text
from stepjax.disk.files import replace
from stepjax.drill.result import OUTAGE, UNNOTICED, WHOLE, in_words, mended, verdict
from stepjax.drill.rounds import Outcome
from stepjax.report.markup import said, seconds, section, table
from stepjax.report.page import card
from stepjax.report.recoveries import PHASES
from stepjax.report.story import Story
from stepjax.train.events import Generation, Injected, Recovery

STEPS = ("#dfe4ea", "#cbd3dc")  # by turns
AROUND = {  # what is told beside the phases of a recovery, and in which ink
    UNNOTICED: ("from the failure until a survivor was told of it", "#f3c4c0"),
    WHOLE: ("all phases, until the step was done", None),
    OUTAGE: ("from the failure until the step was done", None),
}
UNKNOWN = ("", GREY)  # of a phase that has no words here
MARK, BAND, FOOT = 16, 24, 18  # px: heights of the faults, the steps, the axis
LEAST = 2.2  # per cent of the width that a step needs to have its number


def write(numbers: dict[str, Any], outcomes: Sequence[Outcome], workdir: Path) -> None:
    """Writes `workdir`/report.html."""
    replace(workdir / "report.html", page(numbers, outcomes))


def page(numbers: dict[str, Any], outcomes: Sequence[Outcome]) -> str:
    longest = max((_length(outcome.run) for outcome in outcomes), default=0.0) or 1.0
    parts = [
        said("Fault drill", class_="eyebrow") + tag("h1", html.escape(verdict(numbers))),
        cards(numbers, outcomes),
        kinds(numbers),
        phases(numbers),
        legend(numbers) if outcomes else "",
        *(lane(outcome, Scale(0, longest)) for outcome in outcomes),
    ]
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        tag("title", "Fault drill"),
        tag("style", resources.files("stepjax.report").joinpath("report.css").read_text("utf-8")),
    ]
    main = tag("main", "\n".join(filter(None, parts)))
    whole = tag("head", "\n".join(head)) + "\n" + tag("body", main)
    return "<!doctype html>\n" + tag("html", whole, lang="en") + "\n"


def cards(numbers: dict[str, Any], outcomes: Sequence[Outcome]) -> str:
    apart = numbers["max_loss_difference"]
    took = sum(outcome.seconds + outcome.twin_seconds for outcome in outcomes)
    shown = [
        ("Rounds", str(numbers["rounds"]), f"in {words.clock(took)}, twins included"),
        ("Recovered", str(numbers["recovered"]), "as if nothing had happened"),
        ("Largest difference", "-" if apart is None else f"{apart:g}", "of losses of a step"),
        ("Steps lost", str(numbers["steps_lost"]), "that were done again"),
        (
            "Samples lost",
            str(numbers["samples_lost"]),
            f"{numbers['samples_repeated']} repeated",
        ),
        ("Left behind", str(numbers["left_behind"]), "processes, ports, files"),
    ]
    return tag("section", "".join(card(*each) for each in shown), class_="cards")


def kinds(numbers: dict[str, Any]) -> str:
    rows = [
        [html.escape(in_words(name)), str(n["rounds"]), str(n["recovered"])]
        for name, n in numbers["by_fault"].items()
    ]
    head = ("what happens", "rounds", "recovered")
    return section("Rounds by kind", table(head, rows)) if rows else ""


def phases(numbers: dict[str, Any]) -> str:
    """Seconds of recoveries, a row for each phase."""
    rows = []
    for name, spread in numbers["seconds"].items():
        what, ink = _told(name)
        shown = [seconds(spread[value]) for value in ("p50", "p95", "max")]
        rows.append([_swatch(ink) + html.escape(name), html.escape(what), *shown])
    head = ("phase", "what happens in it", "median", "95 %", "longest")
    return section("Recoveries", table(head, rows)) if rows else ""


def legend(numbers: dict[str, Any]) -> str:
    """What the colours of the time lines mean."""
    inks = [(STEPS[0], "a step, with its number"), (RED, "a node fails"), (BLUE, "one is back")]
    inks += [(_told(name)[1], name) for name in numbers["seconds"] if _told(name)[1]]
    names = "".join(tag("span", _swatch(ink) + html.escape(name)) for ink, name in inks)
    note = (
        "Time runs from left to right, in seconds since the first mesh was formed, on one scale "
        "for all rounds. After the last step, the trained model is scored."
    )
    return section("Time lines", said(note, class_="note"), tag("p", names, class_="legend"))


def lane(outcome: Outcome, at: Scale) -> str:
    """The time line of a round, with its plan above."""
    round = outcome.round
    came = "recovered" if outcome.recovered else "did not recover"
    took = words.seconds(outcome.seconds)
    title = f"Round {round.number + 1}, {in_words(round.kind)}: {came} in {took}"
    parts = [said(f"{round.what}. Seed {round.seed}.", class_="note")]
    if outcome.why:
        parts.append(tag("ul", tag("li", html.escape(outcome.why)), class_="notes"))
    return section(title, *parts, _drawing(outcome.run, at))


def _drawing(run: Story, at: Scale) -> str:
    formed = run.of(Generation)
    if not formed:
        return ""
    zero = formed[0].time
    body = [
        *_axis(at),
        *_steps(run, zero, at),
        *_recoveries(run, zero, at),
        *_faults(run, zero, at),
    ]
    return tag(
        "svg", "".join(body), width="100%", height=MARK + BAND + FOOT, role="img",
        aria_label="time line", style="display: block; overflow: visible; font-size: 12px",
    )  # fmt: skip


def _length(run: Story) -> float:
    """Seconds from its first mesh to its last event."""
    formed = run.of(Generation)
    return max(event.time for event in run.events) - formed[0].time if formed else 0.0


def _axis(at: Scale) -> Iterator[str]:
    foot = MARK + BAND
    for s in at.ticks():
        place = f"{at(s)}%"
        yield tag("line", x1=place, x2=place, y1=MARK, y2=foot + 4, stroke=GRID)
        yield text(place, foot + 16, f"{s:,.0f} s")
    yield tag("line", x1="0", x2="100%", y1=foot, y2=foot, stroke=AXIS)


def _steps(run: Story, zero: float, at: Scale) -> Iterator[str]:
    """Each as long as it took, the recoveries in it included.

    When a step that was recovered in has ended is known; steps that were lost leave a gap.
    """
    known, now = {event.step: event.time - zero for event in run.of(Recovery)}, 0.0
    for line in run.steps:
        now = known.get(line.step, now + line.seconds)
        start = max(0.0, now - line.seconds)
        title = f"step {line.step}, {words.seconds(line.seconds)}, {line.devices} devices"
        number = str(line.step) if at(now) - at(start) > LEAST else ""
        yield _piece(at, start, now, STEPS[line.step % 2], title, number)


def _recoveries(run: Story, zero: float, at: Scale) -> Iterator[str]:
    """Their phases, up to the end of the step that they delayed."""
    for recovery, failed in mended(run):
        took = [(name, s) for name, s in recovery.phases.items() if s is not None]
        start = recovery.time - zero - sum(s for _, s in took)
        if failed is not None and failed - zero < start:
            took.insert(0, (UNNOTICED, start - (failed - zero)))
            start = failed - zero
        for name, s in took:
            title = f"{name}, {words.seconds(s)}, step {recovery.step}"
            yield _piece(at, start, start + s, _told(name)[1], title)
            start += s


def _faults(run: Story, zero: float, at: Scale) -> Iterator[str]:
    for event in run.of(Injected):
        place, ink = f"{at(event.time - zero)}%", BLUE if event.what.startswith("back") else RED
        title = tag("title", html.escape(event.what))
        yield tag(
            "line", title, x1=place, x2=place, y1=2, y2=MARK + BAND, stroke=ink, stroke_width=2.5
        )


def _piece(at: Scale, start: float, end: float, ink: str, title: str, number: str = "") -> str:
    inside = tag("title", html.escape(title)) + tag("rect", width="100%", height=BAND, fill=ink)
    if number:
        inside += text("50%", 16, number)
    wide = f"{max(at(end) - at(start), 0.05):.3f}%"
    return tag("svg", inside, x=f"{at(start)}%", y=MARK, width=wide, height=BAND)


def _told(phase: str) -> tuple[str, str | None]:
    """What happens in it, and its ink."""
    return AROUND.get(phase) or PHASES.get(phase, UNKNOWN)


def _swatch(ink: str | None) -> str:
    return f'<i style="background:{ink}"></i>' if ink else ""
