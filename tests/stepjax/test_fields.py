"""Every kind of field takes what it says and nothing else, and a refusal is one short sentence."""

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict

from stepjax import fields
from stepjax.fields import Section, flag, limits, names, one_of, real, section, text, weights, whole


@dataclasses.dataclass(frozen=True)
class Inner(Section, place="outer.inner"):
    width: int = whole(1, 1000)


@dataclasses.dataclass(frozen=True)
class Outer(Section, place="outer"):
    count: int = whole(1, 1000)
    rate: float = real(0.5, 10.0)
    on: bool = flag()
    note: str = text()
    kind: str = one_of(("ring", "line"))
    spoken: tuple = names('("a", "b")')
    span: tuple = limits(int, 0, 99)
    shares: dict = weights(("a", "b"))
    inner: Inner = section(Inner)
    later: int | None = whole(1, 9, default=None)
    pair: tuple | None = limits(float, 0.0, 1.0, default=None, empty=True)


GOOD = dict(count=3, rate=1, on=False, note="", kind="ring", spoken=["x"], span=(0, 99),
            shares={"b": 2}, inner={"width": 4})  # fmt: skip


def test_a_section_holds_plain_values_of_the_declared_types():
    made = Outer.of(ConfigDict(GOOD))
    assert made == Outer(**GOOD)
    assert (made.rate, type(made.rate)) == (1.0, float)
    assert (made.spoken, made.shares, made.inner) == (("x",), {"b": 2.0}, Inner(width=4))
    assert (made.later, made.pair) == (None, None)


@pytest.mark.parametrize(
    ("field", "values", "wanted"),
    [
        ("count", [0, 1001, 3.0, True, "3", None, float("nan"), np.int64(3), 10**30],
         "a whole number from 1 to 1,000"),
        ("rate", [0, 0.49, 11, float("nan"), float("inf"), True, "1", None],
         "a number from 0.5 to 10"),
        ("on", [0, 1, "True", None], "True or False"),
        ("note", [None, 3, b"x"], "a string in quotes"),
        ("kind", ["star", "", None, ("ring",)], "ring or line"),
        ("spoken", [(), "ring", ("",), (3,), None], 'names in brackets, such as ("a", "b")'),
        ("span", [(1,), (2, 1), (-1, 5), (0, 100), (0.0, 1.0), "01", None, ()],
         "(least, most), two whole numbers from 0 to 99"),
        ("shares", [{}, {"a": 0}, {"a": -1}, {"a": float("nan")}, {"c": 1}, {1: 1}, None, 3],
         "weights from 0 to 1,000 for a, b, one of them above 0"),
        ("later", [0, 10, True, "1"], "a whole number from 1 to 9"),
        ("pair", [(0.5,), (1.0, 0.5), 3], "(least, most), two numbers from 0 to 1, or ()"),
    ],
)  # fmt: skip
def test_a_kind_refuses_what_it_does_not_take(field, values, wanted):
    for value in values:
        with pytest.raises(ValueError) as refusal:
            Outer.of({**GOOD, field: value})
        assert str(refusal.value) == f"outer.{field}={value!r} cannot be used; give {wanted}."


def test_the_bounds_themselves_are_taken():
    for low, high in ((1, 1000), (0.5, 10.0)):
        field = "count" if high == 1000 else "rate"
        for value in (low, high):
            assert getattr(Outer.of({**GOOD, field: value}), field) == value
    assert Outer.of({**GOOD, "pair": []}).pair == ()


@pytest.mark.parametrize(
    ("inner", "sentence"),
    [
        ({}, "outer.inner.width is missing; configs/base.py has every field."),
        ({"width": 1, "wdith": 2}, "outer.inner.wdith is not known; the fields are width."),
        ({"width": 0},
         "outer.inner.width=0 cannot be used; give a whole number from 1 to 1,000."),
        (None, "outer.inner=None cannot be used; give a section with width."),
    ],
)  # fmt: skip
def test_an_inner_section_speaks_with_its_full_name(inner, sentence):
    with pytest.raises(ValueError) as refusal:
        Outer.of({**GOOD, "inner": inner})
    assert str(refusal.value) == sentence


def test_a_section_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer.of(GOOD).count = 4


@pytest.mark.parametrize("value", [10**5000, "x" * 10_000, "two\nlines", [1] * 1000], ids=type)
def test_a_refusal_stays_one_short_line_whatever_was_given(value):
    sentence = fields.refusal("steps", value, "a whole number")
    assert len(sentence) < 110 and "\n" not in sentence
