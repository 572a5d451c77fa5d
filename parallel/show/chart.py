"""Charts for a page: SVG that fills whatever width it gets, while its words keep their size.

Places are per cent of the plot; lines run through a stretched square of 1000 by 1000, their strokes
unstretched. Words and ticks stand outside the plot, in the padding that the page gives to `.chart`.
"""

import dataclasses
import html
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence

from parallel.show import words
from parallel.show.svg import AXIS, GRID, readable_on, tag, text

MOST_POINTS = 400  # of a line; beyond, neighbours are averaged
MARK_ROWS = 3  # of words above a plot
FEW_MARKS = 6
PHONE_TICKS = 6  # as many as stand side by side on a narrow screen


@dataclasses.dataclass(frozen=True)
class Line:
    """Values over steps; None leaves a gap."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    ink: str
    dash: str = "none"
    width: float = 2
    fill: str = "none"  # of the area below


@dataclasses.dataclass(frozen=True)
class Mark:
    """A vertical line with a word above it."""

    x: float
    label: str
    ink: str
    dash: str = "none"


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values from `low` to `high`, as per cent of a side."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 3)

    def ticks(self, least: float = 0) -> list[float]:
        """Round numbers within the scale, `least` or more apart.

        >>> Scale(0, 59).ticks(), Scale(2.7, 6.4).ticks()
        ([0.0, 10.0, 20.0, 30.0, 40.0, 50.0], [3.0, 4.0, 5.0, 6.0])
        """
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / PHONE_TICKS))
        fits = (
            power * m for m in (1, 2, 5, 10) if (self.high - self.low) / (power * m) <= PHONE_TICKS
        )
        apart = max(next(fits), least)
        first, last = math.ceil(self.low / apart - 1e-9), math.floor(self.high / apart + 1e-9)
        return [float(f"{i * apart:.12g}") for i in range(first, last + 1)]


def scale(values: Sequence[float], from_zero: bool = False) -> Scale:
    """A scale around all of `values`, with a little air above."""
    low, high = (0.0 if from_zero else min(values)), max(values)
    air = 0.05 * (high - low) or 0.5
    return Scale(low if from_zero else low - air, high + air)


def thinned(line: Line) -> Line:
    """The line with at most MOST_POINTS points."""
    size = math.ceil(len(line.xs) / MOST_POINTS)
    if size <= 1:
        return line
    starts = range(0, len(line.xs), size)
    xs = [statistics.fmean(line.xs[i : i + size]) for i in starts]
    return dataclasses.replace(line, xs=xs, ys=[mean(line.ys[i : i + size]) for i in starts])


def mean(values: Sequence[float | None]) -> float | None:
    """Of the values that are there."""
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there else None


def stepped(line: Line, until: float) -> Line:
    """The line with each value held until the next one."""
    xs = [x for pair in zip(line.xs, [*line.xs[1:], until], strict=True) for x in pair]
    ys = [y for value in line.ys for y in (value, value)]
    return dataclasses.replace(line, xs=xs, ys=ys)


def chart(
    lines: Sequence[Line], marks: Sequence[Mark] = (), from_zero: bool = False, height: int = 260
) -> str:
    """Lines over steps, with marks, axes, and a legend above. At least one value must be there."""
    xs = [x for line in lines for x in line.xs]
    x_at = Scale(min(xs), max(xs)) if min(xs) < max(xs) else Scale(min(xs) - 0.5, min(xs) + 0.5)
    y_at = scale([y for line in lines for y in line.ys if y is not None], from_zero)
    marks = [mark for mark in marks if x_at.low <= mark.x <= x_at.high]
    curves = "".join(_curve(line, x_at, y_at) for line in lines)
    square = tag("svg", curves, viewBox="0 0 1000 1000", preserveAspectRatio="none")
    body = "".join([*_axes(x_at, y_at), *flags(marks, x_at), square, *_hovers(lines, x_at)])
    plot = tag("svg", body, width="100%", height=height, role="img", aria_label=lines[0].name)
    return f'{_legend(lines)}<div class="chart">{plot}</div>'


def _curve(line: Line, x_at: Scale, y_at: Scale) -> str:
    """One path, broken where values are missing."""
    d, gap = [], True
    for x, y in zip(line.xs, line.ys, strict=True):
        if y is not None:
            d.append(f"{'M' if gap else 'L'}{10 * x_at(x):.5g} {1000 - 10 * y_at(y):.5g}")
        gap = y is None
    area = ""
    if line.fill != "none" and d:
        ends = (f"L{10 * x_at(line.xs[i]):.5g} 1000" for i in (-1, 0))
        area = tag("path", d="".join([*d, *ends, "Z"]), fill=line.fill)
    return area + tag(
        "path",
        d="".join(d),
        fill="none",
        stroke=line.ink,
        stroke_width=line.width,
        stroke_dasharray=line.dash,
        stroke_linejoin="round",
        stroke_linecap="round",
        vector_effect="non-scaling-stroke",
    )


def _axes(x_at: Scale, y_at: Scale) -> Iterator[str]:
    """Lines and numbers at round values, and what the horizontal axis is."""
    for y in y_at.ticks():
        place = f"{100 - y_at(y):.3f}%"
        yield tag("line", x1="0", x2="100%", y1=place, y2=place, stroke=GRID)
        yield text("0", place, f"{y:,.6g}", dx=-8, dy=4, anchor="end")
    for x in x_at.ticks(least=1):
        place = f"{x_at(x)}%"
        yield tag("line", x1=place, x2=place, y1="100%", y2="100%", stroke=AXIS)
        yield text(place, "100%", f"{x:,.0f}", dy=18)
    yield tag("line", x1="0", x2="100%", y1="100%", y2="100%", stroke=AXIS)
    yield text("100%", "100%", "step", dy=34, anchor="end")


def flags(marks: Sequence[Mark], x_at: Scale) -> list[str]:
    """The marks' lines, and above them their words; words that find no room are left out."""
    # Per cent that words take on a narrow screen, or on a wide one.
    room = 27 if len(marks) <= FEW_MARKS else 12
    lines, labels = [], []
    for mark, row in zip(marks, rows([x_at(mark.x) for mark in marks], room), strict=True):
        place, top = f"{x_at(mark.x)}%", 0 if row is None else -16 * row - 14
        lines.append(_upright(mark, place, top, 0))
        lines.append(_upright(mark, place, "0", "100%", tag("title", html.escape(mark.label))))
        if row is not None:
            left = span(x_at(mark.x), room)[0] < x_at(mark.x)
            anchor, dx = ("end", -4) if left else ("start", 4)
            label = text(place, "0", mark.label, mark.ink, anchor, dx=dx, dy=top + 9, class_="flag")
            labels.append(label)
    return lines + labels


def _upright(
    mark: Mark, x: str, top: float | str, bottom: float | str, title: str | None = None
) -> str:
    """A vertical line; within the plot, where it has a title, it has the mark's dash."""
    return tag(
        "line",
        title,
        x1=x,
        x2=x,
        y1=top,
        y2=bottom,
        stroke=mark.ink,
        stroke_width=1.5,
        stroke_dasharray="none" if title is None else mark.dash,
    )


def span(x: float, room: float) -> tuple[float, float]:
    """From where to where the words of a mark reach: to its right, or to its left near the right
    end.
    """
    return (x, x + room) if x <= 100 - room else (x - room, x)


def rows(xs: Sequence[float], room: float) -> list[int | None]:
    """For the words at each place, the lowest row above all those that they would touch; None where
    none is left.

    From right to left, so that the line of a mark rises through no words that begin before it.

    >>> rows([0, 30, 40, 60], room=25), rows([10, 11, 12, 13, 14], room=25)
    ([0, 2, 1, 0], [None, None, 2, 1, 0])
    """
    found: dict[int, int | None] = {}
    for i in sorted(range(len(xs)), key=xs.__getitem__, reverse=True):
        start, end = span(xs[i], room)
        others = ((*span(xs[j], room), row) for j, row in found.items() if row is not None)
        row = max((row for a, b, row in others if a < end and start < b), default=-1) + 1
        found[i] = row if row < MARK_ROWS else None
    return [found[i] for i in range(len(xs))]


def _hovers(lines: Sequence[Line], x_at: Scale) -> Iterator[str]:
    """Invisible columns that tell the values under the pointer; all lines have the same places."""
    xs = lines[0].xs
    middles = [(a + b) / 2 for a, b in itertools.pairwise(xs)]
    edges = [x_at(x) for x in (xs[0], *middles, xs[-1])]
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        told = [
            f"{line.name} {words.number(line.ys[i])}" for line in lines if line.ys[i] is not None
        ]
        title = tag("title", html.escape(f"step {xs[i]:,.0f}: {', '.join(told)}"))
        wide = f"{end - start:.3f}%"
        yield tag("rect", title, class_="hover", x=f"{start}%", width=wide, height="100%")


def _legend(lines: Sequence[Line]) -> str:
    names = (tag("span", _swatch(line) + html.escape(line.name)) for line in lines)
    return tag("p", " ".join(names), class_="legend")


def _swatch(line: Line) -> str:
    area = tag("rect", width=26, height=12, fill=line.fill) if line.fill != "none" else ""
    stroke = tag(
        "line",
        x1=0,
        x2=26,
        y1=6,
        y2=6,
        stroke=line.ink,
        stroke_width=line.width,
        stroke_dasharray=line.dash,
    )
    return tag("svg", area + stroke, width=26, height=12)


def stacked_bar(parts: Sequence[tuple[str, float, str]], whole: float) -> str:
    """(name, size, ink) side by side, as shares of `whole`; a name is cut off where its part is too
    narrow.
    """
    body, x = [], 0.0
    for name, size, ink in parts:
        wide = 100 * size / whole
        label = text("6", "50%", name, dy=4, anchor="start", ink=readable_on(ink))
        title = tag("title", html.escape(f"{name} {words.seconds(size)}"))
        inside = title + tag("rect", width="100%", height="100%", fill=ink)
        if wide > 9:
            inside += label
        body.append(tag("svg", inside, x=f"{x:.3f}%", width=f"{wide:.3f}%", height="100%"))
        x += wide
    return tag(
        "svg", "".join(body), class_="bar", width="100%", height=26, role="img", aria_label="phases"
    )
