"""The state of a run as its supervisor handles it: brought together from nodes to be saved, and
offered to all of them to go back to.
"""

from collections.abc import Callable, Collection
from typing import Any

from parallel.elastic.cluster import GoBack
from parallel.elastic.processes import wire
from parallel.elastic.processes.blocks import Blocks, Scattered, holders
from parallel.elastic.processes.exchange import BlockServer, NotHeld, PeerFailed

RESTORED = "restored"  # the name under which it is offered


class Archive:
    """
    Args:
      server: of the supervisor's process.
      shapes: of the state's tree.
      go_back: where a run begins, and goes back to where no live node holds its state.
    """

    def __init__(self, server: BlockServer, shapes: Any, go_back: GoBack):
        self._server, self._shapes, self._go_back = server, shapes, go_back
        self._found: wire.Found | None = None
        self._offered: dict[int, dict[int, tuple[wire.Address, wire.Offers]]] = {}  # by step

    def restored(self, number: int) -> wire.Found:
        """What generation `number` goes back to; each of its nodes is told the same."""
        if self._found is None or self._found.number != number:
            self._server.offer(RESTORED, Blocks.of(*self._go_back()))
            offers = {RESTORED: self._server.offers()[RESTORED]}
            self._found = wire.Found(number, {wire.SUPERVISOR: (self._server.address, offers)})
        return self._found

    def offered(
        self, node: int, at: wire.Address, offer: wire.Offered, nodes: Collection[int]
    ) -> Callable[[], Any] | None:
        """A node offers its part of a state. Once all of `nodes` have: what brings it together,
        in another thread. That raises RuntimeError where some part is gone.
        """
        of_step = self._offered.setdefault(offer.step, {})
        of_step[node] = at, offer.offers
        if not of_step.keys() >= set(nodes):
            return None
        del self._offered[offer.step]
        return lambda: self._whole(offer.step, of_step)

    def _whole(self, step: int, offered: dict[int, tuple[wire.Address, wire.Offers]]) -> Any:
        """The state at a step, from those that hold it; one that fails is not asked again."""
        while True:
            there, fetch = holders(step, offered), self._server.fetch
            try:
                return Scattered(step, self._shapes, (), there, fetch, wire.SUPERVISOR).whole()
            except (PeerFailed, NotHeld) as error:
                del offered[error.peer.node]
