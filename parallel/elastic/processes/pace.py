"""Which nodes are slow: by the time that each takes for the part of a step that it does alone.

In all else nodes wait for each other, so that a slow one makes the steps of all equally long. The
fastest of several steps counts: where nodes share cores, any of them waits for one now and then.
"""

import collections
import statistics
from collections.abc import Collection

STEPS = 6  # that are looked at
FACTOR = 3.0  # times the time of the median node is slow
LEAST_S = 0.1  # below that, no node is called slow


class Pace:
    """The seconds of the last steps, by node."""

    def __init__(self) -> None:
        self._took: dict[int, collections.deque[float]] = {}
        self._slow: set[int] = set()

    def note(self, node: int, seconds: float) -> None:
        """A node has done its part of another step."""
        self._took.setdefault(node, collections.deque(maxlen=STEPS)).append(seconds)

    def keep(self, nodes: Collection[int]) -> None:
        """Forgets the others."""
        for node in self._took.keys() - set(nodes):
            del self._took[node]
            self._slow.discard(node)

    def slow(self) -> dict[int, float]:
        """Nodes that have become slow, and how many times as long as the others they take."""
        fastest = {node: min(took) for node, took in self._took.items() if len(took) == STEPS}
        if len(fastest) < 3:  # of two, it cannot be said which one is slow
            return {}
        usual = statistics.median(fastest.values())
        slow = {
            node: took / usual
            for node, took in fastest.items()
            if took > max(FACTOR * usual, LEAST_S)
        }
        found = {node: ratio for node, ratio in slow.items() if node not in self._slow}
        self._slow = set(slow)
        return found
