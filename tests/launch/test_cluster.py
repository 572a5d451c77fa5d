"""What is written for a cluster: whole, with the settings of the command line, and well-formed."""

import json
import re
import subprocess
import sys

import pytest
from tiny_command import ALONE, FAST, LIMIT, ROOT

from launch import cluster

SETTINGS = ["--config=configs/tiny.py", "--config.faults=lose 1 before 2; back 1 before 4"]
GCLOUD = """\
#!/usr/bin/env bash
for word; do
  case $word in
    describe) echo 127.0.0.1; exit ;;
    --command=*) cd "$HOSTS"; exec bash -c "${word#--command=}" ;;
  esac
done
"""


def written(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "launch.cluster", *SETTINGS, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("kind", cluster.KINDS)
def test_a_job_is_filled_in(kind, tmp_path):
    text = cluster.job(cluster.KINDS[kind], SETTINGS, 6, tmp_path / "the run")
    assert not re.search("@[A-Z]", text.replace("TERM@60", ""))
    assert "stepjax-the-run" in text and SETTINGS[1] in text and f"{tmp_path}/the run" in text


@pytest.mark.parametrize("kind", ["slurm", "tpu"])
def test_a_script_is_one_that_bash_can_read(kind, tmp_path):
    text = cluster.job(cluster.KINDS[kind], SETTINGS, 6, tmp_path / "o'brian's run")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_a_job_has_as_many_nodes_as_the_config(tmp_path):
    done = written(f"--workdir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --nodes=6\n" in done.stdout and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argument, why",
    [
        ("--kind=pbs", "--kind='pbs': one of jobset, slurm, tpu is wanted.\n"),
        ("--config.steps", "--config.steps: write --config.steps=VALUE, as one word.\n"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(argument, why):
    refused = written(argument, "77") if "=" not in argument else written(argument)
    assert (refused.returncode, refused.stderr) == (1, why)


def test_a_jobset_is_one_by_its_schema(tmp_path):
    """Both the JobSet, and the job of each of its parts, which has a schema of its own."""
    api = pytest.importorskip("kubeflow_trainer_api.models", reason="the extra `cluster`")
    validator = pytest.importorskip("kubernetes_validate", reason="the extra `cluster`")
    import yaml  # comes with the validator

    text = cluster.job(cluster.KINDS["jobset"], SETTINGS, 6, tmp_path / "run")
    jobset = yaml.safe_load(text)
    known = api.JobsetV1alpha2JobSet.from_dict(jobset)
    assert known.to_dict() == jobset  # what a schema does not know would be gone
    for part in jobset["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}}
        validator.validate(job | part["template"], "1.30", strict=True)


@pytest.mark.slow
def test_the_script_for_tpu_hosts_trains_where_gcloud_only_does_what_it_is_told(tmp_path):
    clone, program = tmp_path / "stepjax", tmp_path / "gcloud"
    clone.mkdir()
    for path in ROOT.iterdir():
        (clone / path.name).symlink_to(path)
    (clone / ".venv").symlink_to(sys.prefix)
    program.write_text(GCLOUD)
    program.chmod(0o755)
    workdir = tmp_path / "o'brian's run"
    settings = [*ALONE[3:], "--config.steps=3"]
    script = cluster.job(cluster.KINDS["tpu"], settings, 2, workdir)
    environment = FAST | {"TPU": "a", "ZONE": "b", "HOSTS": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment | {"PATH": f"{tmp_path}:{FAST['PATH']}"}, timeout=LIMIT,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((workdir / "result.json").read_text())["steps"] == 3
