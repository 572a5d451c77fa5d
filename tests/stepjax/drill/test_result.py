"""What made-up rounds come to."""

import dataclasses
import json

import made_up_rounds as made_up
import pytest

from parallel.fabric.faults import FaultPlan
from stepjax.drill import page, result
from stepjax.drill.matrix import Round
from stepjax.drill.rounds import difference, furthest
from stepjax.train.events import Injected

GOOD = [
    made_up.outcome(0, recoveries=[made_up.recovery(2, notice=0.1, step=0.4)]),
    made_up.outcome(1, recoveries=[made_up.recovery(2, notice=0.3, step=0.4)]),
    made_up.outcome(2, kind="stop", recoveries=[made_up.recovery(2, notice=10.1)]),
]


def test_numbers_by_hand():
    numbers = result.summary(GOOD)
    names = ("rounds", "recovered", "steps_lost", "samples_lost", "samples_repeated")
    assert [numbers[name] for name in names] == [3, 3, 0, 0, 0]
    assert (numbers["max_loss_difference"], numbers["left_behind"]) == (0.0, 0)
    assert numbers["seconds"]["notice"]["p50"] == 0.3
    assert numbers["seconds"]["step"] == {"p50": 0.4, "p95": 0.4, "max": 0.4}
    assert numbers["seconds"]["recovery"]["max"] == 10.1
    # The plan's fault is told at 100.5 s, and the recovery has ended at 102 s.
    assert numbers["seconds"]["outage"]["p50"] == 1.5
    assert numbers["seconds"]["unnoticed"]["max"] == pytest.approx(1.0)
    assert numbers["by_fault"] == {
        "during": {"rounds": 2, "recovered": 2},
        "stop": {"rounds": 1, "recovered": 1},
    }
    assert result.perfect(numbers)


def test_a_failure_belongs_to_the_recovery_that_names_its_node():
    """Node 2 was a spare that nobody missed, and node 1 came back and was lost again."""
    plan = "lose 2 before 1; lose 1 before 1; back 1 before 2; lose 1 during 2"
    run = made_up.story(plan=plan, recoveries=[made_up.recovery(2, step=0.5)])
    times = iter((100.0, 100.1, 101.0, 101.5))
    events = [
        dataclasses.replace(event, time=next(times)) if isinstance(event, Injected) else event
        for event in run.events
    ]
    ((_, failed),) = result.mended(dataclasses.replace(run, events=events))
    assert failed == 101.5


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [*GOOD, made_up.outcome(3, why="it did not end.")],
        [*GOOD, made_up.outcome(3, left=("port 4000",))],
        [*GOOD, made_up.outcome(3, samples_lost=6)],
    ],
)
def test_only_rounds_that_all_recovered_are_perfect(bad):
    assert not result.perfect(result.summary(bad))


def test_numbers_are_for_programs(tmp_path):
    failed = made_up.outcome(3, why="it did not end.")
    result.write(result.summary([*GOOD, failed]), tmp_path)
    numbers = json.loads((tmp_path / "result.json").read_text())
    assert numbers["recovered"] == 3
    assert [each["plan"] for each in numbers["each"]] == 4 * ["lose 1 during 2"]
    assert numbers["each"][3]["why"] == "it did not end."


def test_the_page_tells_of_every_round_and_fetches_nothing(tmp_path):
    outcomes = [*GOOD, made_up.outcome(3, why="its loss is <nan>.")]
    page.write(result.summary(outcomes), outcomes, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.count("lose 1 during 2. Seed") == 4
    assert "its loss is &lt;nan&gt;." in text
    assert "3 of 4 rounds recovered" in text
    assert "http" not in text and "<script" not in text


def test_a_page_without_rounds_is_a_page(tmp_path):
    page.write(result.summary([]), [], tmp_path)
    assert "0 of 0 rounds recovered" in (tmp_path / "report.html").read_text()


PLAN = "lose 1 during 2"
TWIN = made_up.story(map(made_up.step, range(4)), heldout={"loss": 1.0})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"plan": ""}, "'lose 1 during 2' has not happened."),
        ({"steps": map(made_up.step, range(3))}, "it has logged 3 steps, and its twin 4."),
        (
            {"steps": [made_up.step(n, 1.0 + (n == 3) * 2**-40) for n in range(4)]},
            "the loss of step 3 is 1.0000000000009095, and that of its twin 1.0.",
        ),
        ({"heldout": {"loss": 2.0}}, "its held-out score is {'loss': 2.0}, and that of its twin"),
        ({"samples_lost": 6}, "6 samples were lost, and 0 repeated."),
    ],
)
def test_whatever_tells_a_run_from_its_twin_is_named(change, why):
    told = {"steps": map(made_up.step, range(4)), "plan": PLAN, "heldout": {"loss": 1.0}} | change
    found = difference(Round(0, "during", FaultPlan.parse(PLAN), 0), TWIN, made_up.story(**told))
    assert found.startswith(why) and bool(found) == bool(why)


def test_the_largest_difference_is_that_of_steps_which_both_have_done():
    apart = [made_up.step(0), made_up.step(1, 1.25), made_up.step(7, 9.0)]
    assert furthest(TWIN, made_up.story(apart)) == 0.25
    assert furthest(TWIN, made_up.story()) is None
