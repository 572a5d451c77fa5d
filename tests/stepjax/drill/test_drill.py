"""A drill goes on whatever comes of a round, and tells of all."""

import json

import made_up_rounds as made_up
import pytest

from configs import drill as config
from stepjax.drill import drill


def played(monkeypatch, *comes):
    """A drill of which each round comes to what is said: an outcome, or an exception."""
    left = list(comes)

    def play(config, round, shapes, folder, programs, limit_s):
        folder.mkdir()
        assert programs.is_dir() and (2, 1, 4) in shapes
        if isinstance(left[0], BaseException):
            raise left.pop(0)
        return left.pop(0)

    monkeypatch.setattr(drill, "play", play)
    return drill.planned(config.get_config(), len(comes), seed=0)


def test_a_round_that_fails_says_why_and_the_drill_goes_on(monkeypatch, tmp_path, capsys):
    planned = played(
        monkeypatch, made_up.outcome(0), made_up.outcome(1, why="no end."), made_up.outcome(2)
    )
    assert not drill.run(planned, tmp_path)
    said = capsys.readouterr().out
    assert "round 1/3 recovered in 20.0 s, a node is killed during a step: lose 1 during 2" in said
    assert "round 2/3 NOT RECOVERED in 20.0 s" in said and f"no end. See {tmp_path}" in said
    assert "2 of 3 rounds recovered" in said
    assert json.loads((tmp_path / "result.json").read_text())["recovered"] == 2


def test_a_drill_without_failures_is_done(monkeypatch, tmp_path):
    assert drill.run(played(monkeypatch, made_up.outcome(0)), tmp_path)


def test_what_is_broken_off_tells_of_the_rounds_before(monkeypatch, tmp_path):
    planned = played(monkeypatch, made_up.outcome(0), KeyboardInterrupt(), made_up.outcome(2))
    with pytest.raises(KeyboardInterrupt):
        drill.run(planned, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["rounds"] == 1
    assert not (tmp_path / drill.ROUNDS / "1").exists()
    assert not (tmp_path / drill.PROGRAMS).exists()


def test_a_plan_of_ones_own_is_played_with_other_seeds():
    own = config.get_config()
    own.faults = "lose 1 during 4; back 1 before 7"
    rounds = drill.planned(own, 3, seed=2**32 - 1).rounds
    assert [str(round.plan) for round in rounds] == 3 * [own.faults]
    assert [round.seed for round in rounds] == [2**32 - 1, 0, 1]
