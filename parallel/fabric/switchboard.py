"""The board that sets every OCSTrx of a fabric: from the rings wanted to the fewest commands, and
from the paths that are on to the circuits that are lit.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from parallel.fabric.detour import Damage
from parallel.fabric.topology import (
    Bools,
    Gpu,
    Nodes,
    Port,
    Topology,
    bundle_position,
    check_bundles,
)
from parallel.fabric.transceiver import LANES, LOOPBACK, OCSTRX_PER_BUNDLE, PATHS, Health, OCSTrx

Codes = npt.NDArray[np.int8]

SWITCH_SECONDS = 80e-6  # the hardware's part: 60 to 80 us
CONTROL_SECONDS = 1e-3  # the controller's part; the sources give no figure, this is our assumption


class Command(NamedTuple):
    """Tells the eight OCSTrx of one bundle which path to take."""

    node: int
    bundle: int
    path: str


@dataclass(frozen=True)
class Switching:
    """What brings the fabric from its present state to `rings`: commands that run side by side."""

    rings: tuple[Nodes, ...]
    failed: frozenset[int]
    commands: tuple[Command, ...]
    seconds: float


class Circuit(NamedTuple):
    """Two GPUs joined by light or copper; `lanes` of 100 Gbps each way."""

    a: Gpu
    b: Gpu
    lanes: int


class Switchboard:
    """The present state of every OCSTrx of a fabric.

    >>> from parallel.fabric.topology import KHopRing
    >>> board = Switchboard(KHopRing(num_nodes=8, hops=2), gpus_per_node=2)
    >>> board.apply(board.switch([(0, 1, 2), (3, 5)], failed={4})).commands[:2]
    (Command(node=0, bundle=0, path='main'), Command(node=1, bundle=0, path='main'))
    >>> board.walk((3, 0))
    [(3, 0), (5, 0), (5, 1), (3, 1)]
    >>> board.switch([(0, 1, 2), (3, 5)], failed={4}).commands
    ()
    """

    def __init__(
        self, topology: Topology, gpus_per_node: int, control_seconds: float = CONTROL_SECONDS
    ):
        if topology.num_nodes > 1:  # a lone node needs no bundle
            check_bundles(topology.hops, gpus_per_node)
        self.topology, self.gpus_per_node = topology, gpus_per_node
        self.control_seconds = control_seconds
        self.bundle_at = {bundle_position(b, gpus_per_node): b for b in range(topology.num_bundles)}
        shape = topology.num_nodes, topology.num_bundles, OCSTRX_PER_BUNDLE
        self.paths: Codes = np.full(shape, LOOPBACK, np.int8)  # indices into PATHS
        self.health: Codes = np.full(shape, Health.WORKING, np.int8)
        self.cut_fibres: set[frozenset[int]] = set()
        self.failed: frozenset[int] = frozenset()
        self.preloaded: set[Nodes] = set()

    def preload(self, rings: Iterable[Sequence[int]]) -> None:
        """Stores these rings' routes in their nodes, so that closing them later waits for no
        controller.
        """
        self.preloaded.update(tuple(ring) for ring in rings)

    def switch(self, rings: Iterable[Sequence[int]], failed: Collection[int] = ()) -> Switching:
        """The smallest set of commands from the present state to `rings`, and how long they take.

        Nodes in no ring rest in loopback, so what is lit follows from the rings alone. Commands do
        not reach `failed` nodes, which stay as they are.

        Raises: ValueError that says why the wiring cannot form these rings.
        """
        wanted, out = tuple(tuple(ring) for ring in rings), frozenset(failed)
        self.topology.healthy(out)  # refuses nodes that do not exist
        target = np.full(self.paths.shape[:2], LOOPBACK, np.int8)
        for (node, bundle), path in self._paths_of(wanted, out).items():
            target[node, bundle] = PATHS.index(path)
        differs = self.paths != target[:, :, None]
        self._refuse_broken(wanted, target, differs)
        differs &= self.health == Health.WORKING
        differs[list(out)] = False
        places = np.argwhere(differs.any(axis=2)).tolist()
        commands = tuple(
            Command(node, bundle, PATHS[target[node, bundle]]) for node, bundle in places
        )
        return Switching(wanted, out, commands, self._seconds(wanted, commands))

    def _seconds(self, rings: Iterable[Nodes], commands: Sequence[Command]) -> float:
        """The controllers take part where a ring changes whose route its nodes do not hold."""
        touched = {command.node for command in commands}
        changed = {ring for ring in rings if not touched.isdisjoint(ring)}
        if not commands:
            return 0.0
        if changed <= self.preloaded:
            return SWITCH_SECONDS
        return SWITCH_SECONDS + self.control_seconds

    def apply(self, switching: Switching) -> Switching:
        """Carries the commands out; a stuck or dead OCSTrx stays as it is."""
        for node, bundle, path in switching.commands:
            working = self.health[node, bundle] == Health.WORKING
            self.paths[node, bundle, working] = PATHS.index(path)
        self.failed = switching.failed
        return switching

    def ocstrx(self, node: int, bundle: int, module: int) -> OCSTrx:
        """One of the eight of a bundle."""
        at = node, bundle, module
        return OCSTrx(PATHS[self.paths[at]], Health(self.health[at]))

    def circuits(self) -> tuple[Circuit, ...]:
        """Every two GPUs of healthy nodes that are joined now, by light or by the plain cables of
        their node.
        """
        modules: Counter[tuple[Gpu, Gpu]] = Counter()
        for node in sorted(set(range(self.topology.num_nodes)) - self.failed):
            for gpu in range(self.gpus_per_node):
                ends = [self.follow((node, gpu), module) for module in range(OCSTRX_PER_BUNDLE)]
                modules.update(
                    ((node, gpu), end)
                    for end in ends
                    if end is not None and end[0] not in self.failed
                )
        return tuple(Circuit(a, b, count * LANES // 2) for (a, b), count in modules.items())

    def walk(self, start: Gpu, module: int = 0, lane: int = 0) -> list[Gpu]:
        """The GPUs that one lane passes from `start` upwards, until it is back or its light is
        lost.
        """
        passed, here = [start], self.follow(start, module, lane)
        while here is not None and here != start:
            passed.append(here)
            here = self.follow(here, module, lane)
        return passed

    def follow(self, gpu: Gpu, module: int, lane: int = 0) -> Gpu | None:
        """The GPU that one of the four upward lanes of `gpu` reaches through one OCSTrx; None if
        light is lost.

        It always arrives on the lane four higher, from where the GPU sends it on upwards.
        """
        node, position = gpu
        bundle = self.bundle_at.get(position)
        if bundle is not None:
            here = self.ocstrx(node, bundle, module)
            if here.health is Health.DEAD:
                return None
            if here.lane(lane) is None:
                peer = self._facing(node, Port(bundle, here.path), module)
                if peer is None:
                    return None
                node, position = peer
        return node, (position + 1) % self.gpus_per_node

    def damage(self) -> Damage:
        """What is broken now, for `place_around` to go round."""
        broken = np.argwhere((self.health != Health.WORKING).any(axis=2)).tolist()
        paths = {(node, bundle): self._paths_left(node, bundle) for node, bundle in broken}
        return Damage(frozenset(self.cut_fibres), paths)

    def _paths_left(self, node: int, bundle: int) -> frozenset[str]:
        """The paths that all eight OCSTrx of a bundle can take."""
        all_of_it = [self.ocstrx(node, bundle, module) for module in range(OCSTRX_PER_BUNDLE)]
        return frozenset(path for path in PATHS if all(one.can(path) for one in all_of_it))

    def _facing(self, node: int, port: Port, module: int) -> tuple[int, int] | None:
        """The node and position at the other end of a fibre, if it is whole and the OCSTrx there
        faces it.
        """
        peer = self.topology.peer(node, port)
        if peer is None or frozenset((node, peer)) in self.cut_fibres:
            return None
        bundle, path = self.topology.port(peer, node)
        there = self.ocstrx(peer, bundle, module)
        if there.path != path or there.health is Health.DEAD:
            return None
        return peer, bundle_position(bundle, self.gpus_per_node)

    def stick(self, node: int, bundle: int, module: int) -> None:
        """One OCSTrx no longer leaves the path it is on."""
        self.health[node, bundle, module] = Health.STUCK

    def kill(self, node: int, bundle: int, module: int) -> None:
        """One OCSTrx carries no light any more."""
        self.health[node, bundle, module] = Health.DEAD

    def mend(self, node: int, bundle: int, module: int) -> None:
        """One OCSTrx is replaced by a new one, which starts in loopback."""
        self.health[node, bundle, module] = Health.WORKING
        self.paths[node, bundle, module] = LOOPBACK

    def cut(self, a: int, b: int) -> None:
        """The fibres between two nodes break."""
        self.topology.port(a, b)  # refuses nodes that no fibre joins
        self.cut_fibres.add(frozenset((a, b)))

    def splice(self, a: int, b: int) -> None:
        """The fibres between two nodes are whole again."""
        self.cut_fibres.discard(frozenset((a, b)))

    def _paths_of(
        self, rings: tuple[Nodes, ...], failed: frozenset[int]
    ) -> dict[tuple[int, int], str]:
        """The external path that each open bundle takes, or why these rings cannot be."""
        seen: set[int] = set()
        wanted: dict[tuple[int, int], str] = {}
        for ring in rings:
            for node in ring:
                if not 0 <= node < self.topology.num_nodes:
                    raise ValueError(f"ring {ring}: node {node} does not exist.")
                if node in failed or node in seen:
                    why = "has failed" if node in failed else "is already in a ring"
                    raise ValueError(f"ring {ring}: node {node} {why}; leave it out.")
                seen.add(node)
            both_ways = [pair for a, b in pairwise(ring) for pair in ((a, b), (b, a))]
            for a, b in both_ways:
                bundle, path = self.topology.port(a, b)
                if (a, bundle) in wanted:
                    raise ValueError(
                        f"ring {ring} wants bundle {bundle} of node {a} twice, and it carries one "
                        f"path at a time: end the ring at node {a}."
                    )
                wanted[a, bundle] = path
        return wanted

    def _refuse_broken(self, rings: tuple[Nodes, ...], target: Codes, differs: Bools) -> None:
        """Raises if a ring needs a fibre that is cut, or an OCSTrx that cannot take its path."""
        for ring in rings:
            for a, b in pairwise(ring):
                if frozenset((a, b)) in self.cut_fibres:
                    raise ValueError(
                        f"ring {ring}: the fibre between nodes {a} and {b} is cut; go round it."
                    )
        unable = (self.health == Health.DEAD) | ((self.health == Health.STUCK) & differs)
        members = [node for ring in rings for node in ring]
        for at, bundle, module in np.argwhere(unable[members]).tolist():
            node = members[at]
            raise ValueError(
                f"OCSTrx {module} of bundle {bundle} of node {node} is "
                f"{Health(self.health[node, bundle, module])} and cannot take the path "
                f"{PATHS[target[node, bundle]]}; form rings that do not ask it to."
            )
