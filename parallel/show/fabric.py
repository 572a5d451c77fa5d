"""A k-hop fabric as one self-contained SVG: nodes along a track, wires as arches, every ring in its
own ink.

       .---- reach 2 ----.          s    place along the track, in nodes: node n stands at s = n
      [0]======[1]======[2]         off  px to the left of the way: lanes run at +LANE (out) and -LANE (back),
          wire      wire                 the arches of longer wires rise above

A ring is one closed line: out through the upper GPUs of its nodes, around in the loopback of the
last node, back through the lower GPUs, around in the loopback of the first. Colours repeat after
ten rings, dashes after five, so that neighbouring rings differ in grey too. The drawing uses
attributes only (no style sheet, no script, no font file): it may be pasted into any page.
"""

import dataclasses
import html
import math
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from parallel.show.track import Track, circle, rows

INKS = (
    "#2f6db3",
    "#c8641b",
    "#2e8b63",
    "#8457b0",
    "#b8405e",
    "#1c8c9e",
    "#8a6a3b",
    "#5865c2",
    "#6f8a1f",
    "#a94fa0",
)
DASHES = ("", "9 4", "2.5 3.5", "12 3.5 2.5 3.5", "5 3")
PAPER, TEXT, QUIET, FAINT, RAIL, ALARM = (
    "#fcfcfb",
    "#22262b",
    "#6a717b",
    "#c9ced6",
    "#dfe3e8",
    "#b3372f",
)
FONT = "system-ui, -apple-system, 'Segoe UI', Inter, Roboto, sans-serif"

DOT = 3.6  # px: radius of a GPU
DOT_PITCH = 12.0  # px between GPUs of a node
LANE = 8.0  # px from the middle of the track to a lane
HALF_BOX = 16.0  # px: half the height of a node
GAP = 30.0  # px between two nodes
LOOP = 7.0  # px that a loopback reaches beyond the last GPU
LEGEND = 330  # px: width of the column at the right
CIRCLE_UP_TO = 40  # nodes; beyond, the track folds into rows


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn where; `fabric_svg` fills it in and writes it out."""

    num_nodes: int
    gpus_per_node: int
    hops: int
    track: Track
    wraps: bool
    pitch: float

    @property
    def columns(self) -> int:
        return math.ceil(self.gpus_per_node / 2)

    @property
    def half_width(self) -> float:
        """Half the width of a node, in px."""
        return self.columns * DOT_PITCH / 2 + 7

    def line(self, s: np.ndarray, off: np.ndarray | float, closed: bool = False) -> str:
        """The `d` of an SVG path through these places."""
        points = self.track.at(s, np.broadcast_to(off, np.shape(s)))
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")

    def step(self, a: int, b: int) -> int:
        """Signed number of nodes from a to b, the short way."""
        ahead = b - a
        if self.wraps:
            ahead = (ahead + self.num_nodes // 2) % self.num_nodes - self.num_nodes // 2
        if not 1 <= abs(ahead) <= self.hops:
            raise ValueError(
                f"No wire joins node {a} to node {b}: they are {abs(ahead)} apart and "
                f"hops={self.hops}."
            )
        return ahead

    def wire(self, s: float, ahead: int, lane: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Places along the wire that leaves the node at `s` and ends `ahead` nodes on; `lane`: px
        off its middle.
        """
        edge = math.copysign(self.half_width / self.pitch, ahead)
        t = np.linspace(0, 1, 12 * abs(ahead) + (40 if self.num_nodes > CIRCLE_UP_TO else 0))
        rise = _rise(ahead)
        squeeze = (
            1 - (0.6 if rise else 0.0) * np.sin(np.pi * t) ** 0.7
        )  # both lanes share one fibre
        return s + edge + t * (ahead - 2 * edge), rise * np.sin(np.pi * t) ** 0.85 + lane * squeeze

    def lane(self, s: float, ahead: int, lane: float) -> tuple[np.ndarray, np.ndarray]:
        """A lane from the middle of one node to the middle of the next."""
        places, off = self.wire(s, ahead, lane)
        inside = np.array([0.0, 0.4, 0.8]) * (places[0] - s)
        places = np.concatenate([s + inside, places, s + ahead - inside[::-1]])
        return places, np.concatenate([[lane] * 3, off, [lane] * 3])

    def ring(self, nodes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The closed way of a ring: out along the nodes, around, and back."""
        steps = [self.step(a, b) for a, b in zip(nodes, nodes[1:], strict=False)]
        places = np.cumsum([nodes[0], *steps])
        ahead = math.copysign(1.0, steps[0] if steps else 1)
        wires = [self.lane(s, step, LANE) for s, step in zip(places, steps, strict=False)]
        backs = [self.lane(s, step, -LANE) for s, step in zip(places, steps, strict=False)][::-1]
        theta = np.linspace(0, np.pi, 13)
        beyond = ((self.columns - 1) * DOT_PITCH / 2 + LOOP * np.sin(theta)) / self.pitch * ahead
        turn = (places[-1] + beyond, LANE * np.cos(theta))
        start = (places[0] - beyond, -LANE * np.cos(theta))
        parts = [*wires, turn, *((s[::-1], off[::-1]) for s, off in backs), start]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def dots(self, node: int) -> np.ndarray:
        """Middle of every GPU of a node, in ring order: [gpus, 2]."""
        upper, lower = self.columns, self.gpus_per_node - self.columns
        column = np.array([*range(upper), *reversed(range(lower))]) - (self.columns - 1) / 2
        off = np.array([LANE] * upper + [-LANE] * lower)
        return self.track.at(node + column * DOT_PITCH / self.pitch, off)

    def box(self, node: int, **ink: object) -> str:
        x, y = self.track.at(node)
        return _tag(
            "rect",
            x=-self.half_width,
            y=-HALF_BOX,
            width=2 * self.half_width,
            height=2 * HALF_BOX,
            rx=9,
            transform=f"translate({x:.1f} {y:.1f}) rotate({self.track.angle(node):.1f})",
            **ink,
        )

    def arrows(self, nodes: Sequence[int], ink: str) -> Iterator[str]:
        """Which way traffic goes, in the middle of every wire, on both lanes."""
        s = float(nodes[0])
        for a, b in zip(nodes, nodes[1:], strict=False):
            ahead = self.step(a, b)
            for lane in (LANE, -LANE):
                places, off = self.wire(s, ahead, lane)
                (x, y), m = self.track.at(places, off)[len(places) // 2], places[len(places) // 2]
                degrees = self.track.angle(m) + (180 if (ahead < 0) != (lane < 0) else 0)
                yield _tag(
                    "path",
                    d="M-2.6 -3.6L4 0L-2.6 3.6Z",
                    fill=ink,
                    transform=f"translate({x:.1f} {y:.1f}) rotate({degrees:.1f})",
                )
            s += ahead


def fabric_svg(
    num_nodes: int,
    gpus_per_node: int,
    hops: int,
    groups: Iterable[Sequence[int]],
    failed: Collection[int] = (),
    title: str = "",
    wraps: bool = True,
    switched: Iterable[tuple[int, int]] = (),
) -> str:
    """Draws a k-hop ring (or line, `wraps=False`) with one ring of GPUs per group of nodes.

    Args:
      groups: the nodes of each ring in the order of the ring; an empty group draws nothing but
        keeps its colour.
      failed: nodes that are out; healthy nodes in no group are drawn hollow, as spares.
      title: one line above the picture.
      switched: pairs of nodes whose wire was just switched on; they glow.

    Returns: an `<svg>` element that needs nothing else.
    """
    groups = [list(group) for group in groups]
    _check(num_nodes, gpus_per_node, groups, failed)
    columns = math.ceil(gpus_per_node / 2)
    pitch = columns * DOT_PITCH + 14 + GAP
    rise = max(_rise(hops), HALF_BOX)
    if num_nodes <= CIRCLE_UP_TO:
        track = circle(num_nodes, pitch, wraps)
        pitch = float(np.linalg.norm(track.at(0.5) - track.at(0.49))) * 100
    else:
        track = rows(num_nodes, pitch, wraps, height=2 * rise + 40)
    picture = Picture(num_nodes, gpus_per_node, hops, track, wraps, pitch)
    body = [
        *_wires(picture),
        *_glow(picture, switched),
        *_nodes(picture, groups, set(failed)),
        *_rings(picture, groups),
        *_labels(picture, groups, set(failed)),
    ]
    low, high = track.xy.min(0) - rise - 26, track.xy.max(0) + rise + 26
    head = 52 if title else 8
    low[1] -= head
    legend = list(
        _legend(groups, set(failed), num_nodes, gpus_per_node, high[0] + 12, low[1] + head + 18)
    )
    tall = max(high[1] - low[1], head + 40 + 21 * len(legend))
    wide = high[0] - low[0] + LEGEND
    if title:
        body.append(
            _text(
                low[0] + 22,
                low[1] + 53,
                _summary(picture, groups, failed),
                ink=QUIET,
                anchor="start",
            )
        )
        body.append(_text(low[0] + 22, low[1] + 32, title, size=17, weight=600, anchor="start"))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{low[0]:.0f} {low[1]:.0f} {wide:.0f} '
        f'{tall:.0f}" '
        f'width="{wide:.0f}" height="{tall:.0f}" role="img" font-family="{html.escape(FONT)}">'
    )
    name = f"<title>{html.escape(title or f'{num_nodes} nodes, {len(groups)} rings')}</title>"
    paper = _tag("rect", x=low[0], y=low[1], width=wide, height=tall, fill=PAPER)
    return "\n".join([head, name, paper, *body, *legend, "</svg>"])


def _rise(ahead: int) -> float:
    """Height of the arch of a wire, in px; a wire to the next node is straight."""
    return 0.0 if abs(ahead) == 1 else HALF_BOX + 4 + 14.0 * (abs(ahead) - 1)


def _check(
    num_nodes: int, gpus_per_node: int, groups: list[list[int]], failed: Collection[int]
) -> None:
    if num_nodes < 2 or gpus_per_node < 2:
        raise ValueError(
            f"A drawing needs at least 2 nodes of 2 GPUs; got {num_nodes} of {gpus_per_node}."
        )
    seen = set(failed)
    for node in [*failed, *(n for group in groups for n in group)]:
        if not 0 <= node < num_nodes:
            raise ValueError(f"Node {node} is not in this fabric: nodes are 0 to {num_nodes - 1}.")
    for number, group in enumerate(groups):
        for node in group:
            if node in seen:
                raise ValueError(
                    f"Ring {number} holds node {node}, which has failed or is in a ring already."
                )
            seen.add(node)


def _wires(picture: Picture) -> Iterator[str]:
    """Every wire of the fabric, faint."""
    for ahead in range(picture.hops, 0, -1):
        last = picture.num_nodes if picture.wraps else picture.num_nodes - ahead
        for node in range(last):
            yield _tag(
                "path",
                d=picture.line(*picture.wire(node, ahead)),
                fill="none",
                stroke=RAIL,
                stroke_width=1.4,
            )


def _glow(picture: Picture, switched: Iterable[tuple[int, int]]) -> Iterator[str]:
    for a, b in switched:
        yield _tag(
            "path",
            d=picture.line(*picture.wire(a, picture.step(a, b))),
            fill="none",
            stroke="#ffd76a",
            stroke_width=26,
            stroke_opacity=0.75,
            stroke_linecap="round",
        )


def _nodes(picture: Picture, groups: list[list[int]], failed: set[int]) -> Iterator[str]:
    ink = {node: INKS[i % len(INKS)] for i, group in enumerate(groups) for node in group}
    for node in range(picture.num_nodes):
        if node in ink:
            yield picture.box(
                node, fill="#ffffff", stroke=ink[node], stroke_width=1, stroke_opacity=0.55
            )
        elif node in failed:
            yield picture.box(node, fill="#f6ecea", stroke=ALARM, stroke_width=1.2)
        else:
            yield picture.box(
                node, fill="#ffffff", stroke=QUIET, stroke_width=1.2, stroke_dasharray="3 2.5"
            )
        if node not in ink:
            for x, y in picture.dots(node):
                yield _dot(x, y, "#ffffff", FAINT if node in failed else QUIET)
        if node in failed:
            x, y = picture.track.at(node)
            yield _cross(x, y, 10)


def _rings(picture: Picture, groups: list[list[int]]) -> Iterator[str]:
    for number, group in enumerate(groups):
        if not group:
            continue
        ink, dash = INKS[number % len(INKS)], DASHES[number % len(DASHES)]
        way = picture.line(*picture.ring(group), closed=True)
        yield _tag("path", d=way, fill=ink, fill_opacity=0.13, stroke="none")
        yield _tag(
            "path",
            d=way,
            fill="none",
            stroke=ink,
            stroke_width=2,
            stroke_dasharray=dash or "none",
            stroke_linejoin="round",
        )
        yield from picture.arrows(group, ink)
        for node in group:
            for x, y in picture.dots(node):
                yield _dot(x, y, ink, "#ffffff")


def _labels(picture: Picture, groups: list[list[int]], failed: set[int]) -> Iterator[str]:
    for node in range(picture.num_nodes):
        x, y = picture.track.at(node, -HALF_BOX - 11)
        yield _text(x, y + 3.8, str(node), size=10.5, ink=ALARM if node in failed else QUIET)
    for number, group in enumerate(groups):
        if group:
            steps = [picture.step(a, b) for a, b in zip(group, group[1:], strict=False)]
            x, y = picture.track.at(group[0] + sum(steps) / 2, -HALF_BOX - 35)
            yield _tag(
                "rect",
                x=round(x - 11, 1),
                y=round(y - 9, 1),
                width=22,
                height=18,
                rx=9,
                fill=INKS[number % len(INKS)],
            )
            yield _text(x, y + 4.2, str(number), ink="#ffffff", weight=700)


def _summary(picture: Picture, groups: list[list[int]], failed: Collection[int]) -> str:
    sizes = sorted({len(group) * picture.gpus_per_node for group in groups if group})
    rings = sum(map(bool, groups))
    of = f" of {' or '.join(map(str, sizes))} GPUs" if sizes else ""
    return (
        f"{picture.num_nodes} nodes of {picture.gpus_per_node} GPUs · wires reach {picture.hops} · "
        f"{rings} ring{'s' * (rings != 1)}{of} · {len(failed)} failed"
    )


def _legend(
    groups: list[list[int]],
    failed: set[int],
    num_nodes: int,
    gpus_per_node: int,
    x: float,
    y: float,
    most: int = 16,
) -> Iterator[str]:
    """One line per ring (at most `most`), then what the other signs mean."""
    used = {node for group in groups for node in group}
    entries = [
        (_swatch(number), f"ring {number}", _shorten(spans(group)), len(group) * gpus_per_node)
        for number, group in enumerate(groups)
        if group
    ]
    row = 0
    for swatch, name, nodes, gpus in entries[:most]:
        yield (
            f'<g transform="translate({x:.1f} {y + 21 * row:.1f})">{swatch}'
            + _text(46, 4, name, anchor="start", weight=600)
            + _text(94, 4, f"{gpus} GPUs on nodes {nodes}", anchor="start", ink=QUIET)
            + "</g>"
        )
        row += 1
    spare = num_nodes - len(used) - len(failed)
    signs = [
        (
            _dot(17, 0, "#ffffff", QUIET),
            f"spare: healthy, in no ring ({spare} node{'s' * (spare != 1)})",
        ),
        (_cross(17, 0, 6), f"failed node ({len(failed)})"),
        (_tag("path", d="M2 0H32", stroke=RAIL, stroke_width=1.8), "wire without a circuit"),
    ]
    if len(entries) > most:
        signs.insert(0, ("", f"and {len(entries) - most} more rings"))
    for sign, words in signs:
        yield (
            f'<g transform="translate({x:.1f} {y + 21 * row + 8:.1f})">{sign}'
            + _text(46, 4, words, anchor="start", ink=QUIET)
            + "</g>"
        )
        row += 1


def spans(nodes: Sequence[int]) -> str:
    """Short words for a list of nodes.

    >>> spans([30, 31, 0, 1, 3])
    '30–31, 0–1, 3'
    """
    runs: list[list[int]] = []
    for node in nodes:
        if runs and node == runs[-1][-1] + 1:
            runs[-1].append(node)
        else:
            runs.append([node])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _shorten(words: str, most: int = 26) -> str:
    return words if len(words) <= most else words[: most - 2].rstrip(", –") + " …"


def _swatch(number: int) -> str:
    ink, dash = INKS[number % len(INKS)], DASHES[number % len(DASHES)]
    return _tag(
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
        stroke_dasharray=dash or "none",
    )


def _dot(x: float, y: float, fill: str, stroke: str) -> str:
    return _tag(
        "circle", cx=round(x, 1), cy=round(y, 1), r=DOT, fill=fill, stroke=stroke, stroke_width=1.2
    )


def _cross(x: float, y: float, arm: float) -> str:
    way = [f"M{x - arm:.1f} {y - up:.1f}L{x + arm:.1f} {y + up:.1f}" for up in (arm, -arm)]
    return _tag("path", d="".join(way), stroke=ALARM, stroke_width=2.2, stroke_linecap="round")


def _text(
    x: float,
    y: float,
    words: str,
    size: float = 12,
    ink: str = TEXT,
    weight: int = 400,
    anchor: str = "middle",
) -> str:
    return _tag(
        "text",
        html.escape(words),
        x=round(x, 1),
        y=round(y, 1),
        font_size=size,
        fill=ink,
        font_weight=weight,
        text_anchor=anchor,
    )


def _tag(name: str, inside: str = "", **attributes: object) -> str:
    words = " ".join(f'{key.replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name} {words}>{inside}</{name}>" if inside else f"<{name} {words}/>"
