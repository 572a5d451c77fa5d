"""Settings: every number has a range, and what a config says wrongly is named."""

from dataclasses import dataclass, fields

import pytest

from parallel.planner.experiments import EXPERIMENTS
from parallel.planner.settings import RANGES, make


@dataclass(frozen=True)
class Inner:
    days: float


@dataclass(frozen=True)
class Outer:
    hops: tuple[int, ...]
    fault_ratios: tuple[float, ...]
    seed: int
    inner: Inner
    file: str


GOOD = {"hops": (2, 3), "fault_ratios": [0, 0.5], "seed": 1, "inner": {"days": 3}, "file": "a"}


def test_numbers_become_what_their_field_says():
    made = make(Outer, GOOD, "part")
    assert made == Outer((2, 3), (0.0, 0.5), 1, Inner(3.0), "a")
    assert isinstance(made.fault_ratios[0], float) and isinstance(made.inner.days, float)
    assert make(Outer, GOOD | {"hops": 2.0}, "part").hops == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hops": ("x",)}, "part.hops: 'x' is given where a whole number is wanted"),
        ({"hops": (2.5,)}, "part.hops: 2.5 is given where a whole number is wanted"),
        ({"hops": ()}, "part.hops is empty: give at least one number"),
        ({"hops": (0,)}, "part.hops: 0 is given, and it must be finite and at least 1"),
        ({"fault_ratios": (0.1, 1.5)}, "part.fault_ratios: 1.5 is given, .* at most 1"),
        ({"fault_ratios": (float("nan"),)}, "part.fault_ratios: nan is given"),
        ({"seed": -1}, "part.seed: -1 is given, and it must be finite and at least 0"),
        ({"seed": float("inf")}, "part.seed: inf is given where a whole number is wanted"),
        ({"inner": {"days": 0.0}}, "part.inner.days: 0.0 is given, .* above 0"),
        ({"inner": 3}, "part.inner=3 must have the fields of Inner"),
        ({"inner": {}}, "part.inner.days is missing"),
        ({"extra": 1}, "part.extra is not known: part has the fields hops, fault_ratios"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as refused:
        make(Outer, GOOD | change, "part")
    assert "\n" not in str(refused.value)


def test_every_number_of_every_experiment_has_a_range():
    kinds = [field for kind in EXPERIMENTS.values() for field in fields(kind)]
    numbers = {field.name for field in kinds if field.type in (int, float)}
    assert numbers <= RANGES.keys() and len(numbers) > 5
