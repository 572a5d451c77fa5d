"""The way along which a drawing's nodes stand: a circle while it fits on a page, rows beyond.

s    place along the way, in nodes: node n stands at s = n
off  px to the left of the way, which is outward on the circle
"""

import dataclasses
import math

import numpy as np

STUB = 0.36  # of a pitch: how far rows run straight beyond a node before they bend


@dataclasses.dataclass(frozen=True)
class Track:
    """The way along which nodes stand: points of its middle line and the unit vector to the left,
    by place `s`.
    """

    s: np.ndarray
    xy: np.ndarray  # [points, 2]
    left: np.ndarray  # [points, 2]
    lap: float  # s of the first node, one lap later; infinite on a line

    def at(self, s: np.ndarray | float, off: np.ndarray | float = 0.0) -> np.ndarray:
        s = np.asarray(s, float) % self.lap if math.isfinite(self.lap) else np.asarray(s, float)
        xy = np.stack([np.interp(s, self.s, self.xy[:, i]) for i in (0, 1)], -1)
        left = np.stack([np.interp(s, self.s, self.left[:, i]) for i in (0, 1)], -1)
        return xy + left / np.linalg.norm(left, axis=-1, keepdims=True) * np.asarray(off)[..., None]

    def angle(self, s: float) -> float:
        """Degrees by which a node at `s` is turned."""
        x, y = self.at(s, 1.0) - self.at(s, 0.0)
        return math.degrees(math.atan2(x, -y))


def circle(num_nodes: int, pitch: float, wraps: bool) -> Track:
    """Node 0 stands at the top of a ring; a line leaves a gap of two nodes at the bottom."""
    slots = num_nodes if wraps else num_nodes + 2
    radius = max(slots * pitch / (2 * math.pi), 108)
    s = (
        np.linspace(-1, slots, 24 * slots + 1)
        if wraps
        else np.linspace(-0.5, num_nodes - 0.5, 24 * slots)
    )
    turn = 2 * math.pi * (s / slots if wraps else (s + 1.5) / slots + 0.5) - math.pi / 2
    left = np.stack([np.cos(turn), np.sin(turn)], -1)
    return Track(s, radius * left, left, num_nodes if wraps else math.inf)


def rows(num_nodes: int, pitch: float, wraps: bool, height: float, per_row: int = 20) -> Track:
    """Rows to the right and back in turn, as an ox ploughs; a ring returns along the left edge."""
    num_rows = 2 * math.ceil(
        num_nodes / per_row / 2
    )  # an even number ends at the left, where a ring can close
    per_row, bend = math.ceil(num_nodes / num_rows), height / 2
    s = np.linspace(0, num_nodes - 1, 40 * (num_nodes - 1) + 1)
    row, column = np.divmod(s, per_row)
    beyond = np.clip(
        column - (per_row - 1), 0, 1
    )  # from the last node of a row to the first of the next
    turn = np.pi * np.clip((beyond - STUB) / (1 - 2 * STUB), 0, 1)
    column = np.minimum(column, per_row - 1) + np.minimum(np.minimum(beyond, 1 - beyond), STUB)
    rightward = row % 2 == 0
    x = np.where(rightward, column, per_row - 1 - column) * pitch
    x += np.where(rightward, 1, -1) * bend * np.sin(turn)
    xy = np.stack([x, row * height + bend * (1 - np.cos(turn))], -1)
    if wraps:
        home = _way_home(xy[-1] - [STUB * pitch, 0], np.array([-STUB * pitch, 0]), bend)
        reach = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(home, axis=0), axis=1))])
        s = np.concatenate(
            [s, num_nodes - 1 + STUB + (1 - 2 * STUB) * reach / reach[-1], [num_nodes]]
        )
        xy = np.concatenate([xy, home, [(0.0, 0.0)]])
    along = np.gradient(xy, axis=0)
    along[[0, -1]] = 1.0, 0.0  # the track passes node 0 to the right
    return Track(s, xy, np.stack([along[:, 1], -along[:, 0]], -1), num_nodes if wraps else math.inf)


def _way_home(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """From beyond the last node left, up and back to before node 0, around corners of radius
    `bend`.
    """
    edge, turn = end[0] - 2 * bend, np.linspace(0, np.pi / 2, 13)
    sideways, along = bend * (1 - np.sin(turn)), bend * (1 - np.cos(turn))
    lower = np.stack([edge + sideways, start[1] - along], -1)
    upper = np.stack([edge + along, sideways], -1)
    return np.concatenate([[start], lower, upper, [end]])
