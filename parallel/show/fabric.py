"""A k-hop fabric as one self-contained SVG: nodes along a track, wires as arches, every ring in its
own ink.

Neighbouring rings differ in ink and in dash, so that they can be told apart in grey too. The
drawing uses attributes only (no style sheet, no script, no font file): it may be pasted into any
page.
"""

import html
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise

from parallel.show import words
from parallel.show.lanes import HALF_BOX, LANE, Lanes, highest, lanes
from parallel.show.signs import ROW, cross, dot, legend, look
from parallel.show.svg import FAINT, FONT, GLOW, INK, PAPER, QUIET, RAIL, RED, tag, text

LEGEND = 330  # px: width of the column at the right
MARGIN = 26  # px around what is drawn
HEAD = 52  # px of a title

Rings = Sequence[Sequence[int]]


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
    rings, failed = [list(group) for group in groups], set(failed)
    _check(num_nodes, gpus_per_node, rings, failed)
    way = lanes(num_nodes, gpus_per_node, hops, wraps)
    body = [
        *_wires(way),
        *_glow(way, switched),
        *_nodes(way, rings, failed),
        *_rings(way, rings),
        *_labels(way, rings, failed),
    ]
    edge = highest(hops) + MARGIN
    (left, top), (right, bottom) = way.track.xy.min(0) - edge, way.track.xy.max(0) + edge
    head = HEAD if title else 8
    top -= head
    signs = legend(rings, len(failed), num_nodes, gpus_per_node, right + 12, top + head + 18)
    wide, tall = right - left + LEGEND, max(bottom - top, head + 40 + ROW * len(signs))
    if title:
        body += [
            text(left + 22, top + 53, _summary(way, rings, failed), anchor="start", font_size=12),
            text(left + 22, top + 32, title, INK, "start", font_size=17, font_weight=600),
        ]
    name = tag("title", html.escape(title or f"{num_nodes} nodes, {len(rings)} rings"))
    paper = tag("rect", x=left, y=top, width=wide, height=tall, fill=PAPER)
    return tag(
        "svg",
        "\n".join(["", name, paper, *body, *signs, ""]),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"{left:.0f} {top:.0f} {wide:.0f} {tall:.0f}",
        width=f"{wide:.0f}",
        height=f"{tall:.0f}",
        role="img",
        font_family=FONT,
    )


def _check(num_nodes: int, gpus_per_node: int, rings: Rings, failed: Collection[int]) -> None:
    if num_nodes < 2 or gpus_per_node < 2:
        raise ValueError(
            f"A drawing needs at least 2 nodes of 2 GPUs; got {num_nodes} of {gpus_per_node}."
        )
    for node in [*failed, *(node for ring in rings for node in ring)]:
        if not 0 <= node < num_nodes:
            raise ValueError(f"Node {node} is not in this fabric: nodes are 0 to {num_nodes - 1}.")
    seen = set(failed)
    for number, ring in enumerate(rings):
        for node in ring:
            if node in seen:
                raise ValueError(
                    f"Ring {number} holds node {node}, which has failed or is in a ring already."
                )
            seen.add(node)


def _wires(way: Lanes) -> Iterator[str]:
    """Every wire of the fabric, faint."""
    for ahead in range(way.hops, 0, -1):
        last = way.num_nodes if way.wraps else way.num_nodes - ahead
        for node in range(last):
            yield _open(way.path(*way.wire(node, ahead)), RAIL, 1.4)


def _glow(way: Lanes, switched: Iterable[tuple[int, int]]) -> Iterator[str]:
    for a, b in switched:
        wire = way.path(*way.wire(a, way.ahead(a, b)))
        yield _open(wire, GLOW, 26, stroke_opacity=0.75, stroke_linecap="round")


def _nodes(way: Lanes, rings: Rings, failed: Collection[int]) -> Iterator[str]:
    ink = {node: look(number)[0] for number, ring in enumerate(rings) for node in ring}
    for node in range(way.num_nodes):
        if node in ink:
            yield _box(way, node, "#ffffff", ink[node], 1, stroke_opacity=0.55)
        elif node in failed:
            yield _box(way, node, "#f6ecea", RED, 1.2)
        else:
            yield _box(way, node, "#ffffff", QUIET, 1.2, stroke_dasharray="3 2.5")
        if node not in ink:
            for x, y in way.dots(node):
                yield dot(x, y, "#ffffff", FAINT if node in failed else QUIET)
        if node in failed:
            x, y = way.track.at(node)
            yield cross(x, y, 10)


def _rings(way: Lanes, rings: Rings) -> Iterator[str]:
    for number, ring in enumerate(rings):
        if not ring:
            continue
        ink, dash = look(number)
        around = way.path(*way.ring(ring), closed=True)
        yield tag("path", d=around, fill=ink, fill_opacity=0.13, stroke="none")
        yield _open(around, ink, 2, stroke_dasharray=dash, stroke_linejoin="round")
        yield from _arrows(way, ring, ink)
        for node in ring:
            for x, y in way.dots(node):
                yield dot(x, y, ink, "#ffffff")


def _arrows(way: Lanes, ring: Sequence[int], ink: str) -> Iterator[str]:
    """Which way traffic goes, in the middle of every wire, on both lanes."""
    for s, end in pairwise(way.places(ring)):
        for lane in (LANE, -LANE):
            places, off = way.wire(s, end - s, lane)
            middle = len(places) // 2
            x, y = way.track.at(places[middle], off[middle])
            forward = (end > s) == (lane > 0)
            degrees = way.track.angle(places[middle]) + (0 if forward else 180)
            turned = f"translate({x:.1f} {y:.1f}) rotate({degrees:.1f})"
            yield tag("path", d="M-2.6 -3.6L4 0L-2.6 3.6Z", fill=ink, transform=turned)


def _labels(way: Lanes, rings: Rings, failed: Collection[int]) -> Iterator[str]:
    for node in range(way.num_nodes):
        x, y = way.track.at(node, -HALF_BOX - 11)
        yield text(x, y + 3.8, str(node), RED if node in failed else QUIET, font_size=10.5)
    for number, ring in enumerate(rings):
        if ring:
            places = way.places(ring)
            x, y = way.track.at((places[0] + places[-1]) / 2, -HALF_BOX - 35)
            ink, left, top = look(number)[0], round(x - 11, 1), round(y - 9, 1)
            yield tag("rect", x=left, y=top, width=22, height=18, rx=9, fill=ink)
            yield text(x, y + 4.2, str(number), "#ffffff", font_size=12, font_weight=700)


def _summary(way: Lanes, rings: Rings, failed: Collection[int]) -> str:
    sizes = sorted({len(ring) * way.gpus_per_node for ring in rings if ring})
    drawn = words.counted(sum(1 for ring in rings if ring), "ring")
    of = f" of {' or '.join(map(str, sizes))} GPUs" if sizes else ""
    return (
        f"{way.num_nodes} nodes of {way.gpus_per_node} GPUs · wires reach {way.hops} · "
        f"{drawn}{of} · {len(failed)} failed"
    )


def _open(d: str, ink: str, width: float, **attributes: object) -> str:
    """A line without a filling."""
    return tag("path", None, d=d, fill="none", stroke=ink, stroke_width=width, **attributes)


def _box(way: Lanes, node: int, fill: str, ink: str, width: float, **attributes: object) -> str:
    x, y = way.track.at(node)
    return tag(
        "rect",
        None,
        x=-way.half_width,
        y=-HALF_BOX,
        width=2 * way.half_width,
        height=2 * HALF_BOX,
        rx=9,
        transform=f"translate({x:.1f} {y:.1f}) rotate({way.track.angle(node):.1f})",
        fill=fill,
        stroke=ink,
        stroke_width=width,
        **attributes,
    )
