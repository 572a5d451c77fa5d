"""The frames of a movie as one self-contained HTML page: step through it and watch circuits switch.

The page is movie.html, with the style of movie.css and the script of movie.js.
"""

import html
from collections.abc import Sequence
from importlib import resources
from string import Template

from parallel.fabric.faults import FaultPlan
from parallel.fabric.switchboard import SWITCH_SECONDS
from parallel.planner.movie import Frame


def page(shown: Sequence[Frame], plan: FaultPlan) -> str:
    """The frames as one HTML page without links to anything outside."""
    return Template(_file("movie.html")).substitute(
        style=_file("movie.css"),
        script=_file("movie.js"),
        plan=html.escape(str(plan)),
        stages="".join(_stage(place, frame) for place, frame in enumerate(shown)),
        stops="".join(map(_stop, shown)),
    )


def _stage(place: int, frame: Frame) -> str:
    commands = "".join(f"<li>{html.escape(command)}</li>" for command in frame.commands)
    return (
        f"<section class='frame' id='frame{place}'><div class='picture'>{frame.svg}</div>"
        f"<div class='words'><p class='what'>{html.escape(frame.words)}</p>{_time(frame.seconds)}"
        f"<ol>{commands}</ol></div></section>"
    )


def _time(seconds: float) -> str:
    if not seconds:
        return ""
    return (
        f"<p class='time'><b>{seconds * 1e6:,.0f} µs</b> in all: {SWITCH_SECONDS * 1e6:,.0f} µs "
        f"for the optics, {(seconds - SWITCH_SECONDS) * 1e6:,.0f} µs for the controller</p>"
    )


def _stop(frame: Frame) -> str:
    return (
        f"<button class='stop {frame.kind}'><b>{html.escape(frame.when)}</b>"
        f"<span>{frame.kind}</span></button>"
    )


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
