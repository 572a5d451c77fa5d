"""The movie: every frame follows from the plan."""

import re

import pytest

from parallel.fabric.faults import FaultPlan
from parallel.fabric.placement import place
from parallel.fabric.topology import KHopRing
from parallel.planner.movie import frames

PLAN = (
    FaultPlan()
    .lose(3, 5)
    .lose(9, 8, "during")
    .lose(10, 8, "during")
    .back(3, 12)
    .back(9, 20)
    .back(10, 20)
)


def test_frames_tell_what_broke_and_what_switched():
    shown = frames(18, 4, 2, 16, PLAN)
    assert [frame.kind for frame in shown] == ["start"] + ["lost", "switch"] * 2 + [
        "back",
        "switch",
    ] * 2
    lost, healed = shown[1:3]
    assert (lost.when, lost.title) == ("step 5", "Node 3 is lost before step 5")
    assert lost.words == "Ring 0 (nodes 0..3) is broken; the others run on." and not lost.commands
    assert healed.title == "Circuits switch, and every ring is whole"
    assert "1 ring changed, 3 rings untouched" in healed.words
    assert healed.seconds == pytest.approx(1.08e-3)
    assert all(
        re.fullmatch(r"node \d+ · bundle \d+ → (main|backup|loopback)", command)
        for command in healed.commands
    )
    assert shown[3].title == "Nodes 9 and 10 are lost during step 8"


def test_a_lost_spare_switches_nothing():
    spare = next(
        iter(set(range(9)) - {n for ring in place(KHopRing(9, 2), (), 4).groups for n in ring})
    )
    _, lost, rest = frames(9, 4, 2, 16, FaultPlan().lose(spare, 2))
    assert lost.words == "No ring was broken: there were only spares."
    assert rest.title == "No ring has to change" and not rest.commands and rest.seconds == 0


def test_a_plan_that_cannot_happen_is_refused():
    with pytest.raises(ValueError, match="there is no node 40"):
        frames(18, 4, 2, 16, FaultPlan().lose(40, 2))
