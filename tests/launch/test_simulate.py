"""Every experiment runs on a fresh machine, writes what it promises, and refuses bad input in a
sentence.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from configs.simulate import get_config
from parallel.planner.simulate import EXPERIMENTS, simulate

ROOT = Path(__file__).parents[2]
CONFIG = get_config().to_dict()
WASTE = {"architecture", "tensor", "mean", "p50", "p99", "max", "sd_over_draws"}
KEYS = {
    "waste": WASTE,
    "waste_vs_fault_ratio": WASTE | {"fault_ratio"},
    "job_scale": {"architecture", "tensor", "usable_mean", "usable_min"},
    "waiting": {"architecture", "tensor", "job_share", "waiting"},
    "cross_tor": {
        "algorithm",
        "fault_ratio",
        "job_scale",
        "cross_tor",
        "cross_tor_of_all",
        "groups",
    },
    "cost": {
        "architecture",
        "dollars_per_gpu",
        "watts_per_gpu",
        "dollars_per_gbps",
        "watts_per_gbps",
    },
    "orchestrate": {
        "num_nodes",
        "fault_ratio",
        "seconds_full",
        "seconds_incremental",
        "groups",
        "rings_changed",
    },
    "goodput": {
        "architecture",
        "policy",
        "running",
        "recovering",
        "waiting",
        "work_lost",
        "goodput",
    },
    "movie": {"title", "commands", "seconds"},
}
SMALL = {
    "num_gpus": 576,
    "draws": 2,
    "tensor": ["16", "32"],
    "fault_ratios": ["0.0", "0.05"],
    "job_scales": ["0.85"],
}
OWN = {
    "cost": {"tensor": ["32"]},
    "cross_tor": {"num_gpus": 512, "tensor": ["16"]},
    "orchestrate": {"num_nodes": 3000, "tensor": ["32"], "fault_ratio": 0.05},
    "movie": {"num_nodes": 16, "tensor": ["16"]},
}


def uses(name: str, given: dict) -> dict:
    return {key: value for key, value in given.items() if key in EXPERIMENTS[name].uses}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_writes_its_rows_and_its_figure(name, tmp_path, capsys):
    given = uses(name, SMALL | OWN.get(name, {}))
    simulate(name, given, CONFIG, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result) == {"experiment", "arguments", "rows"} and result["experiment"] == name
    assert result["arguments"].keys() == {*EXPERIMENTS[name].uses, *EXPERIMENTS[name].assumes}
    assert result["rows"] and all(KEYS[name] <= set(row) for row in result["rows"])
    figure = tmp_path / ("movie.html" if name == "movie" else f"{name}.png")
    assert figure.stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert f"Written to {tmp_path}: result.json, {figure.name}" in printed
    assert "…" not in printed  # no column is cut short
    if "architecture" in result["rows"][0]:
        named = {row["architecture"] for row in result["rows"]}
        assert {"khop2", "khop3", "nvl36", "nvl72", "nvl576", "tpuv4"} <= named


def test_the_same_seed_gives_the_same_rows_and_another_does_not(tmp_path):
    given = uses("waste", SMALL)
    rows = [simulate("waste", given | {"seed": seed}, CONFIG, tmp_path).rows for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_flags_that_mean_nothing_are_named(tmp_path, capsys):
    simulate("movie", {"num_gpus": 8, "num_nodes": 12}, CONFIG, tmp_path)
    assert "--num_gpus means nothing to the experiment movie." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("wasted", {}, "there is no experiment 'wasted': take one of waste, waste_vs_fault_ratio"),
        ("waste", {"tensor": ["8", "x"]}, "--tensor=8,x: these are not int numbers with commas"),
        ("waste", {"tensor": []}, "--tensor is empty"),
        ("waste", {"tensor": ["6"]}, "rings of tensor=6 GPUs do not fit nodes of gpus_per_node=4"),
        ("waste", {"num_gpus": 10}, "num_gpus=10 are no whole number of nodes"),
        ("waste", {"num_gpus": 16, "hops": ["2"]}, "hops=2 does not fit a ring of num_nodes=4"),
        ("waste", {"hops": ["9"]}, "hops=9 needs 9 OCSTrx bundles in a node"),
        ("waste", {"hops": ["0"]}, "there is no architecture 'khop0'"),
        (
            "waste",
            {"trace": "none.json"},
            "none.json: cannot read the trace: No such file or directory",
        ),
        ("waste", {"draws": 0}, "draws=0 leaves nothing to look at"),
        ("waste_vs_fault_ratio", {"fault_ratios": ["1.5"]}, "fault_ratio=1.5 is no share of nodes"),
        ("cross_tor", {"job_scales": ["0"]}, "job_scale=0.0 is no share of the cluster"),
        ("cost", {"tensor": ["8", "16"]}, "this experiment takes one value of --tensor, not 2"),
    ],
)
def test_bad_input_is_one_clear_sentence(name, given, message, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        simulate(name, given, CONFIG, tmp_path)
    assert "\n" not in str(refused.value)


def run(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "launch.simulate", *flags]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_runs_and_ends_with_zero_only_if_the_job_was_done(tmp_path):
    done = run(
        "--experiment=cost",
        "--num_gpus=576",
        "--draws=1",
        "--fault_ratios=0,0.1",
        f"--workdir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    assert "khop2 costs 31% of nvl72 per GBps." in done.stdout
    failed = run("--experiment=waste", "--tensor=6", f"--workdir={tmp_path}")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert failed.stderr.strip().count("\n") == 0


def test_planning_a_cluster_needs_no_jax():
    code = "import sys, launch.simulate; sys.exit('jax' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode
        == 0
    )
