"""The way along which a drawing's nodes stand: a circle while it fits on a page, rows beyond.

s    place along the way, in nodes: node n stands at s = n
off  px to the left of the way, which is outward on the circle
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STUB = 0.36  # of a pitch: how far rows run straight beyond a node before they bend


@dataclasses.dataclass(frozen=True)
class Track:
    """Points of the way's middle line and the unit vector to the left, by place `s`."""

    s: Floats
    xy: Floats  # [points, 2]
    left: Floats  # [points, 2]
    lap: float  # s of the first node, one lap later; infinite on a line

    def at(self, s: npt.ArrayLike, off: npt.ArrayLike = 0.0) -> Floats:
        """[..., 2]: x and y, in px."""
        s = np.asarray(s, float)
        if math.isfinite(self.lap):
            s = s % self.lap
        xy = np.stack([np.interp(s, self.s, self.xy[:, i]) for i in (0, 1)], -1)
        left = np.stack([np.interp(s, self.s, self.left[:, i]) for i in (0, 1)], -1)
        left /= np.linalg.norm(left, axis=-1, keepdims=True)
        found: Floats = xy + left * np.asarray(off, float)[..., None]
        return found

    def angle(self, s: float) -> float:
        """Degrees by which a node at `s` is turned."""
        x, y = self.at(s, 1.0) - self.at(s, 0.0)
        return math.degrees(math.atan2(x, -y))


def circle(num_nodes: int, pitch: float, wraps: bool) -> Track:
    """Node 0 stands at the top of a ring; a line leaves a gap of two nodes at the bottom."""
    if wraps:
        slots = num_nodes
        s = np.linspace(-1, slots, 24 * slots + 1)
        turn = 2 * math.pi * s / slots - math.pi / 2
    else:
        slots = num_nodes + 2
        s = np.linspace(-0.5, num_nodes - 0.5, 24 * slots)
        turn = 2 * math.pi * ((s + 1.5) / slots + 0.5) - math.pi / 2
    radius = max(slots * pitch / (2 * math.pi), 108)
    left = np.stack([np.cos(turn), np.sin(turn)], -1)
    return Track(s, radius * left, left, num_nodes if wraps else math.inf)


def rows(num_nodes: int, pitch: float, wraps: bool, height: float, per_row: int = 20) -> Track:
    """Rows to the right and back in turn, as an ox ploughs; a ring returns along the left edge."""
    # An even number of rows ends at the left, where a ring can close.
    num_rows = 2 * math.ceil(num_nodes / per_row / 2)
    per_row, bend = math.ceil(num_nodes / num_rows), height / 2
    s = np.linspace(0, num_nodes - 1, 40 * (num_nodes - 1) + 1)
    row, column = np.divmod(s, per_row)
    beyond = np.clip(column - (per_row - 1), 0, 1)  # from the last node of a row to the next row
    turn = np.pi * np.clip((beyond - STUB) / (1 - 2 * STUB), 0, 1)
    column = np.minimum(column, per_row - 1) + np.minimum(np.minimum(beyond, 1 - beyond), STUB)
    rightward = row % 2 == 0
    x = np.where(rightward, column, per_row - 1 - column) * pitch
    x += np.where(rightward, 1, -1) * bend * np.sin(turn)
    xy = np.stack([x, row * height + bend * (1 - np.cos(turn))], -1)
    if wraps:
        home = _way_home(xy[-1] - [STUB * pitch, 0], np.array([-STUB * pitch, 0]), bend)
        reach = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(home, axis=0), axis=1))])
        along_home = num_nodes - 1 + STUB + (1 - 2 * STUB) * reach / reach[-1]
        s = np.concatenate([s, along_home, [num_nodes]])
        xy = np.concatenate([xy, home, [(0.0, 0.0)]])
    along = np.gradient(xy, axis=0)
    along[[0, -1]] = 1.0, 0.0  # the track passes node 0 to the right
    left = np.stack([along[:, 1], -along[:, 0]], -1)
    return Track(s, xy, left, num_nodes if wraps else math.inf)


def _way_home(start: Floats, end: Floats, bend: float) -> Floats:
    """From beyond the last node left, up and back to before node 0.

    The corners have radius `bend`.
    """
    edge, turn = end[0] - 2 * bend, np.linspace(0, np.pi / 2, 13)
    sideways, along = bend * (1 - np.sin(turn)), bend * (1 - np.cos(turn))
    lower = np.stack([edge + sideways, start[1] - along], -1)
    upper = np.stack([edge + along, sideways], -1)
    return np.concatenate([[start], lower, upper, [end]])
