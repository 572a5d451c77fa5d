"""Every experiment writes what it promises: rows, a figure, a table."""

import json

import pytest

from configs.simulate import get_config
from parallel.planner.experiments import EXPERIMENTS
from parallel.planner.simulate import simulate

WASTE = {"architecture", "tensor", "mean", "p50", "p99", "max", "sd_over_draws"}
KEYS = {
    "waste": WASTE,
    "waste_vs_fault_ratio": WASTE | {"fault_ratio"},
    "job_scale": {"architecture", "tensor", "usable_mean", "usable_min", "sd_over_draws"},
    "waiting": {"architecture", "tensor", "job_share", "waiting", "sd_over_draws"},
    "cross_tor": {
        "algorithm", "tensor", "hops", "fault_ratio", "job_scale", "cross_tor", "cross_tor_of_all",
        "sd_over_draws", "groups", "groups_wanted",
    },
    "cost": {
        "architecture", "dollars_per_gpu", "watts_per_gpu", "dollars_per_gbps", "watts_per_gbps",
        "of_nvl72", "fault_ratios", "aggregate_dollars_per_gpu",
    },
    "placement_time": {
        "num_nodes", "fault_ratio", "seconds_full", "seconds_incremental",
        "seconds_incremental_worst", "groups", "rings_changed", "rings_changed_worst",
    },
    "goodput": {
        "architecture", "policy", "tensor", "job_scale", "running", "recovering", "waiting",
        "work_lost", "goodput", "sd_over_draws",
    },
    "movie": {"when", "kind", "title", "seconds", "commands"},
}  # fmt: skip
SMALL = {
    "num_gpus": 576, "draws": 2, "tensor": (16, 32), "fault_ratios": (0.0, 0.05),
    "job_scales": (0.85,),
}  # fmt: skip
OWN = {
    "cost": {"tensor": (32,)},
    "cross_tor": {"num_gpus": 512, "tensor": (16,)},
    "placement_time": {"num_nodes": 3000, "tensor": (32,)},
    "movie": {"num_nodes": 16, "tensor": (16,)},
}


def config_of(name: str) -> dict:
    config = get_config().to_dict()
    part = config[name]
    changes = SMALL | OWN.get(name, {})
    part |= {key: value for key, value in changes.items() if key in part}
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_writes_its_rows_and_its_figure(name, tmp_path, capsys):
    config = config_of(name)
    simulate(name, config, tmp_path / "made" / "here")
    result = json.loads((tmp_path / "made" / "here" / "result.json").read_text())
    assert list(result) == ["experiment", "arguments", "rows"] and result["experiment"] == name
    assert result["arguments"] == json.loads(json.dumps(config[name]))
    assert result["rows"] and all(KEYS[name] == set(row) for row in result["rows"])
    figure = "movie.html" if name == "movie" else f"{name}.png"
    assert (tmp_path / "made" / "here" / figure).stat().st_size > 10_000
    found = {path.name for path in (tmp_path / "made" / "here").iterdir()}
    assert found == {"result.json", figure}
    printed = capsys.readouterr().out
    assert f"Written to {tmp_path}/made/here: result.json, {figure}" in printed
    assert "…" not in printed  # no column is cut short
    if "architecture" in result["rows"][0]:
        named = {row["architecture"] for row in result["rows"]}
        assert {"khop2", "khop3", "nvl36", "nvl72", "nvl576", "tpuv4"} <= named


def test_a_result_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    simulate("movie", config_of("movie"), tmp_path)
    before = (tmp_path / "result.json").read_text()
    monkeypatch.setattr("pathlib.Path.replace", _refuse)
    with pytest.raises(OSError, match="no room"):
        simulate("movie", get_config().to_dict(), tmp_path)
    assert (tmp_path / "result.json").read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "movie.html"}


def _refuse(*_):
    raise OSError("no room")
