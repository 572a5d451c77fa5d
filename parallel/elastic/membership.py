"""Who is alive, from heartbeats only."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping


class Alive(frozenset):
    """The nodes alive at one moment.

    Two equal sets of different epochs are not the same members: somebody went and came back in
    between, with empty memory. So each node's number of arrivals is part of it.
    """

    epoch: int  # how often the members had changed until then
    arrivals: Mapping[int, int]  # node -> how often it had come

    def __new__(cls, arrivals: Mapping[int, int], nodes: Iterable[int], epoch: int) -> "Alive":
        alive = super().__new__(cls, nodes)
        alive.epoch, alive.arrivals = epoch, dict(arrivals)
        return alive

    def came_since(self, before: "Alive") -> frozenset[int]:
        """Nodes that are there and were not, or not without a break."""
        return frozenset(
            n for n in self if n not in before or self.arrivals[n] > before.arrivals[n]
        )

    def gone_since(self, before: "Alive") -> frozenset[int]:
        """Nodes that were there and have been away since, if they came back or not."""
        return frozenset(
            n for n in before if n not in self or self.arrivals[n] > before.arrivals[n]
        )


class Membership:
    """Listens to the nodes' hearts.

    A node is gone when it has been silent for more than `timeout_s` while others were heard, and
    back when it beats again. A silence of everybody counts for a quarter of `timeout_s` at most,
    however long it is: a supervisor that stalled, or a machine that starved, hears some hearts
    before others when it wakes, and must take none of them for dead. So nobody is missed when all
    fall silent: nobody is left to outlive them.

    >>> seconds = iter([0.0, 1.0, 2.0, 3.0])
    >>> members = Membership(num_nodes=3, timeout_s=2.0, clock=lambda: next(seconds))
    >>> members.beat(0, 1); members.beat(1); members.beat(1, 2)
    >>> members.alive()
    Alive({0, 1, 2})
    """

    def __init__(
        self, num_nodes: int, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ):
        self.num_nodes = num_nodes
        self.timeout_s = timeout_s
        self._clock = clock
        self._heard_at = clock()
        self._now = 0.0  # seconds, less what was too much of every common silence
        self._last_beat: dict[int, float] = {}  # node -> that time
        self._arrivals: dict[int, int] = {}
        self._alive = Alive({}, (), epoch=0)
        self._changed = threading.Condition()

    def beat(self, *nodes: int) -> None:
        """Notes that `nodes` are alive at this instant. Any thread may call it."""
        for node in nodes:
            if not 0 <= node < self.num_nodes:
                raise ValueError(
                    f"heard a beat of node {node}, but the nodes are 0 to {self.num_nodes - 1}; "
                    "start that node with an index of this cluster."
                )
        with self._changed:
            heard_at = self._clock()
            self._now += min(heard_at - self._heard_at, self.timeout_s / 4)
            self._heard_at = heard_at
            self._last_beat.update(dict.fromkeys(nodes, self._now))
            alive = {
                node for node, beat in self._last_beat.items() if self._now - beat <= self.timeout_s
            }
            if alive != self._alive:
                for node in alive - self._alive:
                    self._arrivals[node] = self._arrivals.get(node, 0) + 1
                self._alive = Alive(self._arrivals, alive, self._alive.epoch + 1)
                self._changed.notify_all()

    def alive(self) -> Alive:
        return self._alive

    def wait_until_changed(self, known: Alive, limit_s: float) -> Alive:
        """Returns who is alive as soon as that is of a later epoch than `known`."""
        with self._changed:
            if self._changed.wait_for(lambda: self._alive.epoch != known.epoch, limit_s):
                return self._alive
        raise TimeoutError(
            f"in {limit_s} s no node went or came: alive are still {sorted(known)}, and a silent "
            "one is gone "
            f"after {self.timeout_s} s; if a step failed all the same, the reason is not a lost "
            "node."
        )
