"""A fault plan carried out on a small fabric: for each fault a picture of what happened, and one of
the circuits that switch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from parallel.fabric.baselines import check_tensor
from parallel.fabric.faults import Fault, FaultPlan
from parallel.fabric.placement import Placement, rearrange, rings_changed
from parallel.fabric.switchboard import Switchboard, Switching
from parallel.fabric.topology import KHopRing, Nodes
from parallel.show.fabric import fabric_svg
from parallel.show.places import newly_lit, settle
from parallel.show.words import counted
from parallel.show.words import ring as nodes_of


@dataclass(frozen=True)
class Frame:
    """What the page shows at one time."""

    when: str  # "step 5", one for several frames
    title: str
    words: str
    svg: str
    kind: str  # "start", "lost", "back" or "switch"
    commands: tuple[str, ...] = ()
    seconds: float = 0.0


class MovieRow(NamedTuple):
    """A frame without its picture."""

    when: str
    kind: str
    title: str
    seconds: float
    commands: tuple[str, ...]


def row(frame: Frame) -> MovieRow:
    return MovieRow(*(getattr(frame, name) for name in MovieRow._fields))


def frames(
    num_nodes: int, gpus_per_node: int, hops: int, tensor: int, plan: FaultPlan
) -> list[Frame]:
    """One frame of the healthy fabric, and two for each moment of the plan: what happened, and what
    was done about it.
    """
    check_tensor(gpus_per_node, tensor)
    plan.check(num_nodes)
    ring = KHopRing(num_nodes, hops)
    board, nodes_per_group = Switchboard(ring, gpus_per_node), max(1, tensor // gpus_per_node)

    def picture(
        slots: Iterable[Nodes], failed: Iterable[int], title: str, switched: Iterable = ()
    ) -> str:
        return fabric_svg(num_nodes, gpus_per_node, hops, slots, failed, title, switched=switched)

    failed: frozenset[int] = frozenset()
    placement = rearrange(Placement(), ring, failed, nodes_per_group)
    slots = list(placement.groups)
    switching = board.apply(board.switch(placement.groups, failed))
    title = f"{counted(len(slots), 'ring')} on {num_nodes} nodes that are all well"
    words = f"{counted(len(switching.commands), 'switch command')} opened the rings from loopback."
    shown = [
        Frame("start", title, words, picture(slots, failed, title), "start", *_orders(switching))
    ]
    for when, events in groupby(plan.faults, key=lambda event: event.when):
        events = list(events)
        lost = {event.node for event in events if event.loses}
        failed = (failed | lost) - {event.node for event in events if not event.loses}
        broken = [() if lost & set(slot) else slot for slot in slots]
        step, title = f"step {when[0]}", _title(events)
        svg = picture(broken, failed, title)
        kind = "lost" if lost else "back"
        shown.append(Frame(step, title, _damage(slots, broken, events), svg, kind))
        before = placement
        placement = rearrange(placement, ring, failed, nodes_per_group)
        settled = settle(slots, placement.groups)
        switching = board.apply(board.switch(placement.groups, failed))
        changed = rings_changed(before, placement)
        title, words = _outcome(len(before.groups), len(placement.groups), changed, switching)
        svg = picture(settled, failed, title, newly_lit(slots, settled))
        shown.append(Frame(step, title, words, svg, "switch", *_orders(switching)))
        slots = settled
    return shown


def _orders(switching: Switching) -> tuple[tuple[str, ...], float]:
    commands = (
        f"node {node} · bundle {bundle} → {path}" for node, bundle, path in switching.commands
    )
    return tuple(commands), switching.seconds


def _outcome(before: int, after: int, changed: int, switching: Switching) -> tuple[str, str]:
    """Title and words for what switching did: rings before and after, and how many are not as they
    were.
    """
    commands = f"{counted(len(switching.commands), 'switch command')}, carried out side by side. "
    untouched = f"{counted(after - max(0, changed - max(0, before - after)), 'ring')} untouched."
    if after < before:
        remain = "remains" if after == 1 else "remain"
        title = f"Too few nodes in reach: {counted(after, 'ring')} {remain}"
    elif after > before:
        title = f"Circuits switch, and {counted(after, 'ring')} run again"
    elif changed:
        title = "Circuits switch, and every ring is whole"
    else:
        title = "No ring has to change"
    return (
        title,
        f"{commands if switching.commands else ''}{counted(changed, 'ring')} changed, {untouched}",
    )


def _title(events: Sequence[Fault]) -> str:
    """
    >>> _title([Fault("lose", 3, 5), Fault("lose", 4, 5), Fault("back", 1, 5)])
    'Nodes 3 and 4 are lost, node 1 is back before step 5'
    """
    parts = []
    for loses, word in ((True, "lost"), (False, "back")):
        nodes = [str(event.node) for event in events if event.loses == loses]
        if nodes:
            node, are = ("node", "is") if len(nodes) == 1 else ("nodes", "are")
            parts.append(f"{node} {' and '.join(nodes)} {are} {word}")
    moment = {"recovering": "while recovering from", "saving": "while saving"}.get(
        events[0].moment, events[0].moment
    )
    words = ", ".join(parts) + f" {moment} step {events[0].step}"
    return words[0].upper() + words[1:]


def _damage(slots: list[Nodes], broken: list[Nodes], events: Sequence[Fault]) -> str:
    gone = [
        f"ring {place} (nodes {nodes_of(slot)})"
        for place, slot in enumerate(slots)
        if slot and not broken[place]
    ]
    if gone:
        words = (
            f"{' and '.join(gone)} {'is' if len(gone) == 1 else 'are'} broken; the others run on."
        )
        return words[0].upper() + words[1:]
    if any(event.loses for event in events):
        return "No ring was broken: there were only spares."
    return "A node that comes back is a spare until it is wired in."
