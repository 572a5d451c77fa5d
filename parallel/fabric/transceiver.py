"""OCSTrx, the transceiver that switches (InfinitePOD, arXiv 2502.03885).

An OCSTrx has three paths, one of which is on: main and backup lead out of the node over a fibre,
loopback joins its own two halves of lanes. Eight of them make a bundle. Bundle position g of a
node:

    GPU g      lanes 0-3 of each of the 8 ─┐              loopback: lane l <-> lane l + 4
    GPU g + 1  lanes 4-7 of each of the 8 ─┴─ OCSTrx x 8  fibre:    lane l <-> the peer's lane l + 4

Either way light that leaves a GPU upwards (lanes 0-3) arrives at a GPU from below (lanes 4-7). So
a walk always ascends through a node's GPUs, and a ring is found by following it.
"""

import enum
from dataclasses import dataclass, replace

PATHS = ("loopback", "main", "backup")
LOOPBACK = PATHS.index("loopback")
OCSTRX_PER_BUNDLE = 8
LANES = 8  # of an OCSTrx, 100 Gbps each; the first four belong to GPU g, the others to GPU g + 1


class Health(enum.IntEnum):
    """What an OCSTrx can still do: switch, carry light on one path, or nothing."""

    WORKING = 0
    STUCK = 1
    DEAD = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class OCSTrx:
    """One transceiver as a state machine.

    >>> OCSTrx().switch("main").lane(0), OCSTrx().lane(0), OCSTrx().lane(5)
    (None, 4, 1)
    >>> OCSTrx(path="main", health=Health.STUCK).switch("loopback")
    Traceback (most recent call last):
    ValueError: a stuck OCSTrx stays on its main path: it cannot switch to 'loopback'.
    """

    path: str = "loopback"
    health: Health = Health.WORKING

    def __post_init__(self) -> None:
        _check_path(self.path)
        if not isinstance(self.health, Health):
            raise ValueError(f"an OCSTrx is {', '.join(map(str, Health))}; got {self.health!r}.")

    def can(self, path: str) -> bool:
        """Whether it could carry light on `path`."""
        stays_there = self.health is Health.STUCK and self.path == path
        return self.health is Health.WORKING or stays_there

    def switch(self, path: str) -> "OCSTrx":
        """The same transceiver on another path."""
        _check_path(path)
        if not self.can(path):
            stuck = self.health is Health.STUCK
            stays = f"stays on its {self.path} path" if stuck else "carries no light"
            raise ValueError(f"a {self.health} OCSTrx {stays}: it cannot switch to {path!r}.")
        return replace(self, path=path)

    def lane(self, lane: int) -> int | None:
        """The lane that loopback joins to `lane`; None when its light leaves over a fibre, or is
        lost.
        """
        if self.path != "loopback" or self.health is Health.DEAD:
            return None
        return (lane + LANES // 2) % LANES


def _check_path(path: str) -> None:
    if path not in PATHS:
        raise ValueError(f"an OCSTrx has no path {path!r}: it has {', '.join(PATHS)}.")
