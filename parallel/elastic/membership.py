"""Who is alive, from heartbeats only."""

import threading
import time
from collections.abc import Callable


class Membership:
    """Listens to the nodes' hearts.

    A node is gone when its last beat is older than the newest beat of anyone by more than `timeout_s`. The
    rule reads no clock between beats, so a stalled supervisor or a starved machine, which hears nobody for a
    while, takes nobody for dead; and when the last node falls silent, nobody is left to outlive it.
    A node that beats again is back. Nodes of one process should beat in one call, which is one instant.

    >>> seconds = iter([0.0, 1.0, 2.0])
    >>> members = Membership(num_nodes=3, timeout_s=1.5, clock=lambda: next(seconds))
    >>> members.beat(0, 1); members.beat(1); members.beat(1, 2)
    >>> sorted(members.alive())
    [1, 2]
    """

    def __init__(self, num_nodes: int, timeout_s: float, clock: Callable[[], float] = time.monotonic):
        self.num_nodes = num_nodes
        self.timeout_s = timeout_s
        self._clock = clock
        self._last_beat: dict[int, float] = {}
        self._heard = threading.Condition()

    def beat(self, *nodes: int) -> None:
        """Notes that `nodes` are alive at this instant. Any thread may call it."""
        for node in nodes:
            if not 0 <= node < self.num_nodes:
                raise ValueError(f"heard a beat of node {node}, but the nodes are 0 to {self.num_nodes - 1}; "
                                 "start that node with an index of this cluster.")
        with self._heard:
            self._last_beat.update(dict.fromkeys(nodes, self._clock()))
            self._heard.notify_all()

    def alive(self) -> frozenset[int]:
        with self._heard:
            return self._alive()

    def wait_until_changed(self, known: frozenset[int], limit_s: float) -> frozenset[int]:
        """Returns the nodes alive as soon as they are others than `known`."""
        with self._heard:
            if self._heard.wait_for(lambda: self._alive() != known, limit_s):
                return self._alive()
        raise TimeoutError(
            f"in {limit_s} s no node went or came: alive are still {sorted(known)}, and a silent one is gone "
            f"after {self.timeout_s} s; if a step failed all the same, the reason is not a lost node.")

    def _alive(self) -> frozenset[int]:
        newest = max(self._last_beat.values(), default=0.0)
        return frozenset(n for n, beat in self._last_beat.items() if newest - beat <= self.timeout_s)
