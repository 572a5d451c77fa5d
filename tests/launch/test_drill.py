"""`launch.drill` as its users type it: a round, mistakes, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_command import FAST, ROOT

from stepjax.drill import fence

DRILL = [sys.executable, "-m", "launch.drill"]
SMALL = (  # one ring and a spare, so that there is one shape of mesh to compile for
    "--nodes=3", "--config.steps=4", "--config.checkpoint.every=2", "--config.data.global_batch=2",
    "--config.data.heldout=2",
)  # fmt: skip


def run(*flags: str, environment=FAST, limit: float = 400) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*DRILL, *flags],
        cwd=ROOT, env=environment | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
        timeout=limit, check=False,
    )  # fmt: skip


def test_a_round_on_real_processes_recovers_and_leaves_nothing(tmp_path):
    done = run(*SMALL, "--faults=crash 1 during 2", "--rounds=1", f"--workdir={tmp_path}")
    assert done.returncode == 0 and done.stderr == "", done.stderr + done.stdout
    assert "round 1/1 recovered in" in done.stdout
    assert "1 of 1 round recovered" in done.stdout
    numbers = json.loads((tmp_path / "result.json").read_text())
    zeros = ("max_loss_difference", "samples_lost", "samples_repeated", "left_behind")
    assert [numbers[name] for name in zeros] == 4 * [0]
    assert numbers["by_fault"] == {"plan": {"rounds": 1, "recovered": 1}}
    (recovery,) = numbers["each"][0]["recoveries"]
    assert "SIGSEGV" in recovery["cause"]
    assert "crash 1 during 2" in (tmp_path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "result.json"]


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--faults=lose 9 before 5"], 1, "there is no node 9"),
        (["--faults=lose 1 before 2; lose 2 before 2"], 1, "cannot be played: it leaves no ring"),
        (["--nodes=2"], 1, "leave no room for a round where"),
        (["--rounds=0"], 1, "--rounds='0': a whole number of at least 1"),
        (["--seed=-1"], 1, "--seed='-1': a whole number of at least 0"),
        (["--trace=none.json"], 1, "none.json: cannot read the trace"),
        (["--round=3"], 2, "there is no flag --round: use --rounds"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(flags, code, said, tmp_path):
    refused = run(*flags, f"--workdir={tmp_path}/never")
    assert refused.returncode == code and said in refused.stderr, refused.stderr
    assert refused.stderr.count("\n") == 1 and refused.stdout == ""
    assert not (tmp_path / "never").exists()


def test_ctrl_c_ends_a_drill_in_order_and_tells_what_there_is(tmp_path):
    command = [*DRILL, f"--workdir={tmp_path}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=FAST, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while not fence.processes_of(tmp_path) and time.monotonic() < until:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted.\n")
    assert fence.processes_of(tmp_path) == []
    assert json.loads((tmp_path / "result.json").read_text())["rounds"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "result.json"]


@pytest.mark.slow
def test_every_kind_of_failure_is_recovered_from(tmp_path):
    done = run("--rounds=9", "--seed=3", f"--workdir={tmp_path}", limit=2400)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = json.loads((tmp_path / "result.json").read_text())
    assert numbers["recovered"] == len(numbers["by_fault"]) == 9
