"""Which nodes are alive, from heartbeats only."""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Members:
    """The nodes alive at one moment.

    The same nodes at different epochs are different members: in between, a node was lost and came
    back with empty memory. The number of arrivals of each node says which one.
    """

    nodes: frozenset[int]
    epoch: int  # how often the members had changed until then
    arrivals: Mapping[int, int]  # node -> how often it had come

    def lost_since(self, before: "Members") -> frozenset[int]:
        """Nodes of `before` that were lost after it, even if they came back."""
        return frozenset(n for n in before.nodes if n not in self.nodes or self._came(n, before))

    def back_since(self, before: "Members") -> frozenset[int]:
        """Nodes of now that came after `before`, even if they were there then, too."""
        return frozenset(n for n in self.nodes if n not in before.nodes or self._came(n, before))

    def _came(self, node: int, before: "Members") -> bool:
        return self.arrivals[node] > before.arrivals[node]


class Membership:
    """Receives the heartbeats of the nodes.

    A node is lost when it has been silent for more than `timeout_s` while others were heard, and
    back with its next heartbeat. While no node is heard, at most a quarter of `timeout_s` counts as
    silence, however long it lasts: a listener that stalled, or a machine without free cores,
    receives some heartbeats before others afterwards, and must not take those others for lost. So
    nodes that all fall silent together are never called lost.

    >>> seconds = iter([0.0, 1.0, 2.0, 3.0])
    >>> membership = Membership(num_nodes=3, timeout_s=2.0, clock=lambda: next(seconds))
    >>> membership.beat(0, 1); membership.beat(1); membership.beat(1, 2)
    >>> membership.members()
    Members(nodes=frozenset({0, 1, 2}), epoch=2, arrivals={0: 1, 1: 1, 2: 1})
    """

    def __init__(
        self, num_nodes: int, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ):
        self.num_nodes = num_nodes
        self.timeout_s = timeout_s
        self._clock = clock
        self._heard_at = clock()
        self._now = 0.0  # seconds, without the part of common silences that does not count
        self._last_beat: dict[int, float] = {}  # node -> that time
        self._members = Members(frozenset(), epoch=0, arrivals={})
        self._changed = threading.Condition()

    def beat(self, *nodes: int) -> None:
        """Notes that `nodes` are alive at this instant. Any thread may call it."""
        for node in nodes:
            if not 0 <= node < self.num_nodes:
                raise ValueError(
                    f"a heartbeat came from node {node}, but the nodes are 0 to "
                    f"{self.num_nodes - 1}; start that node with an index of this cluster."
                )
        with self._changed:
            heard_at = self._clock()
            self._now += min(heard_at - self._heard_at, self.timeout_s / 4)
            self._heard_at = heard_at
            self._last_beat.update(dict.fromkeys(nodes, self._now))
            alive = frozenset(
                node for node, beat in self._last_beat.items() if self._now - beat <= self.timeout_s
            )
            if alive != self._members.nodes:
                self._members = self._next(alive)
                self._changed.notify_all()

    def members(self) -> Members:
        """The nodes that are alive now."""
        return self._members

    def wait_until_changed(self, known: Members, limit_s: float) -> Members:
        """The members as soon as their epoch is later than that of `known`.

        Raises: TimeoutError after `limit_s` seconds.
        """
        with self._changed:
            if self._changed.wait_for(lambda: self._members.epoch != known.epoch, limit_s):
                return self._members
        raise TimeoutError(
            f"no node was lost or came back within {limit_s} s: nodes {sorted(known.nodes)} are "
            f"still alive, and a silent node counts as lost after {self.timeout_s} s; if a step "
            "failed all the same, a lost node is not the reason."
        )

    def _next(self, alive: frozenset[int]) -> Members:
        arrivals = dict(self._members.arrivals)
        for node in alive - self._members.nodes:
            arrivals[node] = arrivals.get(node, 0) + 1
        return Members(alive, self._members.epoch + 1, arrivals)
