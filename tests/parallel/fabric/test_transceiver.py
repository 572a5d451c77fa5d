"""One transceiver: what its paths join, and what it refuses."""

import pytest

from parallel.fabric.transceiver import PATHS, Health, OCSTrx


def test_loopback_joins_the_two_halves_of_an_ocstrx():
    assert [OCSTrx().lane(lane) for lane in range(8)] == [4, 5, 6, 7, 0, 1, 2, 3]
    assert OCSTrx("backup").lane(0) is None


def test_an_ocstrx_has_one_path_on_and_reaches_every_other():
    for path in PATHS:
        for other in PATHS:
            assert OCSTrx(path).switch(other).path == other
    with pytest.raises(
        ValueError, match="a dead OCSTrx carries no light: it cannot switch to 'main'"
    ):
        OCSTrx(health=Health.DEAD).switch("main")
    with pytest.raises(ValueError, match="has no path 'sideways'"):
        OCSTrx().switch("sideways")


def test_a_broken_ocstrx_keeps_what_it_has():
    stuck = OCSTrx("main", Health.STUCK)
    assert [stuck.can(path) for path in PATHS] == [False, True, False]
    assert not any(OCSTrx(path, Health.DEAD).can(path) for path in PATHS)
    assert OCSTrx(health=Health.STUCK).lane(3) == 7 and OCSTrx(health=Health.DEAD).lane(3) is None


def test_a_state_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="an OCSTrx is working, stuck, dead; got 'ill'"):
        OCSTrx(health="ill")
