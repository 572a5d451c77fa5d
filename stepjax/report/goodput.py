"""The part of report.html that tells where the wall time of a run went."""

import math

from parallel.show import words
from parallel.show.chart import stacked_bar
from stepjax.report.markup import said, seconds, section, table
from stepjax.report.story import Story

# name -> (what it is, ink); inks are light and dark in turn, so that they differ in grey
PARTS = {
    "stepping": ("steps that count", "#1f5a93"),
    "repeating": ("steps that had to be done again", "#f1c999"),
    "recovering": ("from a step that failed until it began on the next mesh", "#a8551c"),
    "compiling": ("programs were compiled or loaded", "#a9cdec"),
    "saving": ("the state was copied for a checkpoint", "#6b4f8f"),
    "evaluating": ("the model was scored on held-out speech", "#bfe0c4"),
    "waiting": ("start and end of a process, and batches that came late", "#c3c9d1"),
}


def goodput(story: Story) -> str:
    """A bar and a table; nothing where it is not known."""
    spent = story.numbers.goodput or {}
    took = [(part, spent[part]) for part in PARTS if spent.get(part, 0.0) > 0]
    total = sum(s for _, s in took)
    if not took or total == math.inf:
        return ""
    share = words.share(spent.get("stepping", 0.0) / total)
    note = f"{share} of {words.clock(total)} went into steps that count."
    bar = stacked_bar([(part, s, PARTS[part][1]) for part, s in took], total)
    rows = [
        (
            f'<i style="background:{PARTS[part][1]}"></i>{part}',
            PARTS[part][0],
            f"{seconds(s)} · {words.share(s / total)}",
        )
        for part, s in took
    ]
    return section(
        "Where the time went", said(note, class_="note"), bar, table((), rows, class_="phases")
    )
