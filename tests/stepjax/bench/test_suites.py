"""The suites compare what they say they compare; how fast anything is, no test asks."""

import json
import sys

import pytest
import tiny_run
from ml_collections import ConfigDict

from configs import bench
from stepjax.bench import mesh, recovery, step, suites
from stepjax.bench.result import Result, write


def small(turns: int, **changes) -> ConfigDict:
    return ConfigDict({"turns": turns, "run": tiny_run.config(**changes)})


def test_the_plain_step_has_the_loss_of_the_product_and_both_are_timed():
    result = step.run(small(3, data_global_batch=2))
    names = [row["implementation"] for row in result.rows]
    assert names[:2] == ["stepjax", "plain jax.jit"]
    assert all(0 < row["fastest"] <= row["seconds"] <= row["slowest"] for row in result.rows)
    spread = result.summary["over_plain_jit_over_turns"]
    assert 0 < spread["fastest"] <= result.summary["over_plain_jit"] <= spread["slowest"]
    assert (result.summary["over_torch"] is None) == ("torch" not in names)


@pytest.mark.slow
def test_every_mesh_takes_part_in_every_turn():
    result = mesh.run(small(2))
    assert [row["devices"] for row in result.rows] == [1, 4, 8, 16]
    spread = result.summary["overhead_over_turns"]
    assert 0 < spread["fastest"] <= result.summary["overhead"] <= spread["slowest"]


def test_a_command_that_fails_is_named_by_its_exit_code(tmp_path):
    with pytest.raises(RuntimeError, match="the run ended with code 3 before its start"):
        recovery.recovery_against_restart(
            [sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 1
        )


def test_every_suite_has_its_part_of_the_config_and_its_line_in_the_command():
    assert set(bench.get_config()) == set(suites.SUITES)


def test_a_suite_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match="suite='mash' is not known; use one of mesh, recovery"):
        suites.named("mash")


def test_a_config_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no part mesh: start from configs/bench.py"):
        suites.measure("mesh", ConfigDict({"step": {}}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_result_is_written_for_programs(tmp_path):
    write(Result([{"devices": 1, "seconds": 0.5}], {"overhead": 1.1}), "mesh", tmp_path / "new")
    assert json.loads((tmp_path / "new/result.json").read_text()) == {
        "suite": "mesh",
        "rows": [{"devices": 1, "seconds": 0.5}],
        "summary": {"overhead": 1.1},
    }
