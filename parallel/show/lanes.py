"""Where the GPUs, wires and rings of a fabric run along a track.

       .---- reach 2 ----.        s    place along the track, in nodes: node n stands at s = n
      [0]======[1]======[2]       off  px to the left of the way: lanes run at +LANE (out) and
          wire      wire               -LANE (back), the arches of longer wires rise above

A ring is one closed line: out through the upper GPUs of its nodes, around in the loopback of the
last node, back through the lower GPUs, around in the loopback of the first.
"""

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from parallel.show.track import Floats, Track, circle, rows

Line = tuple[Floats, Floats]  # s and off of its points

DOT_PITCH = 12.0  # px between GPUs of a node
LANE = 8.0  # px from the middle of the track to a lane
HALF_BOX = 16.0  # px: half the height of a node
GAP = 30.0  # px between two nodes
LOOP = 7.0  # px that a loopback reaches beyond the last GPU
CIRCLE_UP_TO = 40  # nodes; beyond, the track folds into rows


@dataclasses.dataclass(frozen=True)
class Lanes:
    """A k-hop ring (or line, where it does not wrap) on its track, on which nodes stand `pitch` px
    apart.
    """

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

    def path(self, s: Floats, off: Floats, closed: bool = False) -> str:
        """The `d` of an SVG path through these places."""
        points = self.track.at(s, off)
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")

    def ahead(self, a: int, b: int) -> int:
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

    def wire(self, s: float, ahead: int, lane: float = 0.0) -> Line:
        """The wire from the node at `s` to the one `ahead` nodes on, or a lane `lane` px off it."""
        edge = math.copysign(self.half_width / self.pitch, ahead)
        more = 40 if self.num_nodes > CIRCLE_UP_TO else 0  # where the track may bend
        t = np.linspace(0, 1, 12 * abs(ahead) + more)
        rise = arch(ahead)
        shared = 0.6 if rise else 0.0  # in an arch, both lanes draw together: they share a fibre
        squeeze = 1 - shared * np.sin(np.pi * t) ** 0.7
        return s + edge + t * (ahead - 2 * edge), rise * np.sin(np.pi * t) ** 0.85 + lane * squeeze

    def lane(self, s: float, ahead: int, lane: float) -> Line:
        """A lane from the middle of one node to the middle of the next."""
        places, off = self.wire(s, ahead, lane)
        inside = np.array([0.0, 0.4, 0.8]) * (places[0] - s)
        places = np.concatenate([s + inside, places, s + ahead - inside[::-1]])
        return places, np.concatenate([[lane] * 3, off, [lane] * 3])

    def places(self, nodes: Sequence[int]) -> list[int]:
        """s of each node of a ring, counted on from its first."""
        found = [nodes[0]]
        for a, b in pairwise(nodes):
            found.append(found[-1] + self.ahead(a, b))
        return found

    def ring(self, nodes: Sequence[int]) -> Line:
        """The closed way of a ring: out along the nodes, around, and back."""
        places = self.places(nodes)
        steps = [(float(a), b - a) for a, b in pairwise(places)]
        out = [self.lane(s, ahead, LANE) for s, ahead in steps]
        back = [self.lane(s, ahead, -LANE) for s, ahead in reversed(steps)]
        forward = math.copysign(1.0, steps[0][1]) if steps else 1.0
        theta = np.linspace(0, np.pi, 13)
        beyond = (self.columns - 1) * DOT_PITCH / 2 + LOOP * np.sin(theta)
        beyond *= forward / self.pitch
        parts = [
            *out,
            (places[-1] + beyond, LANE * np.cos(theta)),
            *((s[::-1], off[::-1]) for s, off in back),
            (places[0] - beyond, -LANE * np.cos(theta)),
        ]
        return np.concatenate([s for s, _ in parts]), np.concatenate([off for _, off in parts])

    def dots(self, node: int) -> Floats:
        """Middle of every GPU of a node, in ring order: [gpus, 2]."""
        upper, lower = self.columns, self.gpus_per_node - self.columns
        column = np.array([*range(upper), *reversed(range(lower))]) - (self.columns - 1) / 2
        off = np.array([LANE] * upper + [-LANE] * lower)
        return self.track.at(node + column * DOT_PITCH / self.pitch, off)


def lanes(num_nodes: int, gpus_per_node: int, hops: int, wraps: bool) -> Lanes:
    """A circle of up to CIRCLE_UP_TO nodes, and rows of more."""
    pitch = math.ceil(gpus_per_node / 2) * DOT_PITCH + 14 + GAP
    if num_nodes <= CIRCLE_UP_TO:
        track = circle(num_nodes, pitch, wraps)
        pitch = float(np.linalg.norm(track.at(0.5) - track.at(0.49))) * 100  # a circle may be wider
    else:
        track = rows(num_nodes, pitch, wraps, height=2 * highest(hops) + 40)
    return Lanes(num_nodes, gpus_per_node, hops, track, wraps, pitch)


def arch(ahead: int) -> float:
    """Height of the arch of a wire, in px; a wire to the next node is straight."""
    return 0.0 if abs(ahead) == 1 else HALF_BOX + 4 + 14.0 * (abs(ahead) - 1)


def highest(hops: int) -> float:
    """How far above the track anything reaches, in px."""
    return max(arch(hops), HALF_BOX)
