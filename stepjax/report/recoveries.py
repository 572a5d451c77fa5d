"""The part of report.html that tells of every recovery: rings before and after, phases."""

import html
from collections.abc import Iterator, Sequence

from parallel.show import words
from parallel.show.chart import stacked_bar
from parallel.show.fabric import fabric_svg
from parallel.show.places import newly_lit, over_time
from parallel.show.svg import tag
from stepjax.report.markup import said, seconds, section, table
from stepjax.report.story import Story
from stepjax.train.events import Generation, Recovery, Start

Rings = Sequence[Sequence[int]]

# name -> (what happens in it, ink); inks are light and dark in turn, so that they differ in grey
PHASES = {
    "notice": ("from the loss until the trainer knew of it", "#c3c9d1"),
    "placement": ("which rings the nodes can form now", "#1f5a93"),
    "circuits": ("transceivers switched to these rings", "#a9cdec"),
    "mesh": ("the device mesh along these rings", "#2c7a51"),
    "unload": ("a process takes its state off the devices", "#6b4c93"),
    "agree": ("all processes agree on who forms the next mesh", "#cdbfe3"),
    "join": ("processes join the world of this mesh", "#2c7a51"),
    "programs": ("programs for this mesh, compiled or at hand", "#bfe0c4"),
    "state": ("parameters and optimizer state brought over", "#a8551c"),
    "step": ("the interrupted step, done again", "#f1c999"),
}
SOURCES = {
    "replica": "a live replica",
    "neighbour": "the copies that ring neighbours keep",
    "checkpoint": "the last checkpoint",
}
SIDE_BY_SIDE = 16  # nodes; larger fabrics are drawn one above the other
# Over all recoveries, for a page of a few MB; later recoveries are told in words.
MOST_NODES_DRAWN = 1000


def recoveries(story: Story) -> Iterator[str]:
    """A section each; the bars of all of them have one scale."""
    longest = max(
        (sum(took for _, took in phases(recovery)) for recovery in story.of(Recovery)), default=0
    )
    generations = story.of(Generation)
    rings = over_time(generation.groups for generation in generations)
    num_nodes = story.start.num_nodes if story.start else MOST_NODES_DRAWN
    for number, rewiring in enumerate(story.rewirings(), 1):
        recovery, before, after = rewiring.recovery, rewiring.before, rewiring.after
        yield section(
            f"Step {recovery.step:,}: {words.change(recovery.lost, recovery.back)}",
            said(in_words(recovery, None if after is None else generations[after])),
            pictures(story, before, after, rings, drawn=number * num_nodes <= MOST_NODES_DRAWN),
            timing(recovery, longest),
        )


def pictures(
    story: Story, before: int | None, after: int | None, rings: Sequence[Rings], drawn: bool
) -> str:
    """Rings before and after, as far as they are known; wires that are new are marked."""
    figures = []
    for name, which in (("Before", before), ("After", after)):
        if which is None:
            continue
        generation, picture = story.of(Generation)[which], ""
        if drawn:
            new = [] if before is None else newly_lit(rings[before], rings[which])
            picture = drawing(story.start, generation, rings[which], new)
        caption = html.escape(f"{name}: {words.rings(generation.groups, room=110)}")
        figures.append(tag("figure", picture + tag("figcaption", caption)))
    wide = story.start is not None and story.start.num_nodes > SIDE_BY_SIDE
    return tag("div", "".join(figures), class_="pile" if wide else "pair")


def in_words(recovery: Recovery, after: Generation | None) -> str:
    """How long it took, where the state came from, and what switched for it."""
    again = ""
    if recovery.steps_lost:
        again = f", and {words.counted(recovery.steps_lost, 'step')} had to be done again"
    parts = [
        f"Training went on {seconds(recovery.seconds)} later{again}.",
        f"The state came from {SOURCES.get(recovery.state_from, recovery.state_from)}.",
    ]
    if recovery.cause:
        parts.insert(0, f"What happened: {recovery.cause}.")
    if after:
        bundles = f"{words.counted(after.switched, 'bundle')} of transceivers switched"
        parts += [
            f"{bundles}, which takes the hardware {seconds(after.switch_seconds)}.",
            f"{words.counted(after.devices, 'device')} went on.",
        ]
    return " ".join(parts)


def drawing(
    start: Start | None, generation: Generation, rings: Rings, new: Sequence[tuple[int, int]]
) -> str:
    """The rings of a generation, or why they cannot be drawn."""
    if start is None:
        return said("The fabric is not known: events.jsonl has no start.", class_="note")
    try:
        svg = fabric_svg(
            start.num_nodes,
            start.gpus_per_node,
            start.hops,
            rings,
            generation.away,
            wraps=start.fabric == "ring",
            switched=new,
        )
    except ValueError as reason:
        return said(f"These rings cannot be drawn: {reason}", class_="note")
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")  # inside a page it says nothing


def phases(recovery: Recovery) -> list[tuple[str, float]]:
    """The phases that there were, with their seconds."""
    took = ((name, recovery.phases.get(name)) for name in PHASES)
    return [(name, s) for name, s in took if s is not None]


def timing(recovery: Recovery, longest: float) -> str:
    """A bar of the phases, and their seconds in a table."""
    took = phases(recovery)
    if not took or not longest:
        return ""
    bar = stacked_bar([(name, s, PHASES[name][1]) for name, s in took], longest)
    rows = [
        (f'<i style="background:{PHASES[name][1]}"></i>{name}', PHASES[name][0], seconds(s))
        for name, s in took
    ]
    return bar + table((), rows, class_="phases")
