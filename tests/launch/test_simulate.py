"""The command as its users type it: a result, a refusal, an interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIMULATE = [sys.executable, "-m", "launch.simulate"]


def run(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*SIMULATE, *flags], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_runs_and_its_config_can_be_changed(tmp_path):
    small = ("--config.cost.num_gpus=576", "--config.cost.draws=1", "--config.cost.hops=2,3")
    ratios = "--config.cost.fault_ratios=0,0.1"
    done = run("--experiment=cost", *small, ratios, f"--workdir={tmp_path}/new")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "khop2 costs 31% of nvl72 per GBps." in done.stdout
    arguments = json.loads((tmp_path / "new/result.json").read_text())["arguments"]
    assert arguments["num_gpus"] == 576 and arguments["fault_ratios"] == [0.0, 0.1]


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--experiment=wasted"], 1, "there is no experiment 'wasted'"),
        (["--config.waste.tensor=6"], 1, "rings of tensor=6 GPUs do not fit nodes"),
        (["--config.waste.tensor=8,x"], 1, "waste.tensor: '8,x' is given"),
        (["--config.trace.file=none.json"], 1, "none.json: cannot read the trace"),
        (["--config=configs/quickstart.py"], 1, "the config has no part waste"),
        (["--config.waste.draws=two"], 2, "--config.waste.draws=two"),
        (["--config.waste.num_gpu=8"], 2, "no field waste.num_gpu: use waste.num_gpus"),
        (["--trace=FILE"], 2, "there is no flag --trace"),
        (["waste"], 2, "'waste' belongs to no flag"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(flags, code, said, tmp_path):
    refused = run(*flags, f"--workdir={tmp_path}/never")
    assert refused.returncode == code and said in refused.stderr, refused.stderr
    assert refused.stderr.count("\n") == 1 and refused.stdout == ""
    assert not (tmp_path / "never").exists()


def test_ctrl_c_ends_an_experiment_in_order(tmp_path):
    command = [*SIMULATE, "--experiment=cross_tor", f"--workdir={tmp_path}/never"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(2)  # in the middle of about twenty seconds
            os.kill(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, "interrupted.\n")
    assert not (tmp_path / "never").exists()


def test_planning_a_cluster_needs_no_jax():
    code = "import sys, parallel.planner.simulate; sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
