"""Charts hold any values, and their words never touch."""

import itertools
import random

import pytest

from parallel.show import chart


def test_ticks_are_few_round_and_inside():
    for low, high in [(0, 1), (0, 59), (2.7, 6.4), (0.001, 0.0013), (-5, 1e6), (13.5, 14.5)]:
        ticks = chart.Scale(low, high).ticks()
        assert 2 <= len(ticks) <= chart.PHONE_TICKS + 1
        assert low <= min(ticks) and max(ticks) <= high


def test_a_thinned_line_keeps_its_mean():
    line = chart.Line("loss", range(2000), [0.1 * x for x in range(2000)], "#000000")
    thin = chart.thinned(line)
    assert len(thin.xs) == len(thin.ys) <= chart.MOST_POINTS
    assert chart.mean(thin.ys) == pytest.approx(chart.mean(line.ys))


def test_words_of_marks_never_touch():
    draw = random.Random(0)
    for count in range(1, 30):
        xs = [round(draw.uniform(0, 100), 1) for _ in range(count)]
        shown = [
            (chart.span(x, 20), row)
            for x, row in zip(xs, chart.rows(xs, 20), strict=True)
            if row is not None
        ]
        assert shown and max(row for _, row in shown) < chart.MARK_ROWS
        for (a, row), (b, other) in itertools.combinations(shown, 2):
            assert row != other or a[1] <= b[0] or b[1] <= a[0]


def test_a_mark_without_room_for_words_keeps_its_line():
    marks = [chart.Mark(x, f"node {x} lost", "#000000") for x in range(40)]
    drawn = "".join(chart.flags(marks, chart.Scale(0, 39)))
    assert (
        drawn.count('y2="100%"') == drawn.count("<title>") == 40 and 3 <= drawn.count("<text") <= 15
    )
