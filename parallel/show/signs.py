"""The signs in the picture of a fabric, and the legend that explains them."""

from collections.abc import Iterator, Sequence

from parallel.show import words
from parallel.show.svg import DASHES, INK, QUIET, RAIL, RED, RINGS, tag, text

DOT = 3.6  # px: radius of a GPU
ROW = 21  # px between lines of the legend
MOST_RINGS = 16  # that the legend names
MOST_LETTERS = 26  # of the nodes of a ring


def look(number: int) -> tuple[str, str]:
    """Ink and dash of a ring; inks repeat after ten rings, dashes after five."""
    return RINGS[number % len(RINGS)], DASHES[number % len(DASHES)]


def dot(x: float, y: float, fill: str, stroke: str) -> str:
    """A GPU."""
    x, y = round(x, 1), round(y, 1)
    return tag("circle", cx=x, cy=y, r=DOT, fill=fill, stroke=stroke, stroke_width=1.2)


def cross(x: float, y: float, arm: float) -> str:
    """A failed node."""
    strokes = [f"M{x - arm:.1f} {y - up:.1f}L{x + arm:.1f} {y + up:.1f}" for up in (arm, -arm)]
    return tag("path", d="".join(strokes), stroke=RED, stroke_width=2.2, stroke_linecap="round")


def legend(
    rings: Sequence[Sequence[int]],
    failed: int,
    num_nodes: int,
    gpus_per_node: int,
    x: float,
    y: float,
) -> list[str]:
    """One line per ring (at most MOST_RINGS), then what the other signs mean."""
    drawn = [number for number, ring in enumerate(rings) if ring]
    lines = [
        _line(x, y + ROW * row, _swatch(number), *_words(number, rings[number], gpus_per_node))
        for row, number in enumerate(drawn[:MOST_RINGS])
    ]
    y += ROW * len(lines) + 8
    for row, (sign, meaning) in enumerate(_signs(rings, failed, num_nodes, len(drawn))):
        lines.append(_line(x, y + ROW * row, sign, _said(46, meaning)))
    return lines


def _signs(
    rings: Sequence[Sequence[int]], failed: int, num_nodes: int, drawn: int
) -> Iterator[tuple[str, str]]:
    if drawn > MOST_RINGS:
        yield "", f"and {drawn - MOST_RINGS} more rings"
    spare = num_nodes - sum(map(len, rings)) - failed
    hollow = dot(17, 0, "#ffffff", QUIET)
    yield hollow, f"spare: healthy, in no ring ({words.counted(spare, 'node')})"
    yield cross(17, 0, 6), f"failed node ({failed})"
    yield tag("path", d="M2 0H32", stroke=RAIL, stroke_width=1.8), "wire without a circuit"


def _words(number: int, ring: Sequence[int], gpus_per_node: int) -> tuple[str, str]:
    nodes = words.ring(ring)
    if len(nodes) > MOST_LETTERS:
        nodes = nodes[: MOST_LETTERS - 2].rstrip("-.") + " …"
    gpus = f"{len(ring) * gpus_per_node} GPUs on nodes {nodes}"
    return _said(46, f"ring {number}", INK, weight=600), _said(94, gpus)


def _said(x: float, what: str, ink: str = QUIET, weight: int = 400) -> str:
    return text(x, 4, what, ink, "start", font_size=12, font_weight=weight)


def _line(x: float, y: float, *inside: str) -> str:
    return tag("g", "".join(inside), transform=f"translate({x:.1f} {y:.1f})")


def _swatch(number: int) -> str:
    ink, dash = look(number)
    return tag(
        "rect",
        x=1,
        y=-5.5,
        width=32,
        height=11,
        rx=5.5,
        fill=ink,
        fill_opacity=0.13,
        stroke=ink,
        stroke_width=2,
        stroke_dasharray=dash,
    )
