"""The command as its users type it: a run, its files, an interruption, a refusal."""

import json
import os
import signal
import time

import pytest
from tiny_command import FAST, HOSTILE, LIMIT, TRAIN, run, start, trajectory

from stepjax.train.jsonl import read


def test_a_run_leaves_what_the_readme_says(finished):
    result = json.loads((finished / "result.json").read_text())
    wanted = {
        "steps", "final_loss", "first_loss", "tokens_per_second", "faults", "rejoins", "generations", "steps_lost",
        "samples_lost", "samples_repeated", "recovery_seconds", "heldout", "skipped_files", "mixed_files",
    }  # fmt: skip
    assert wanted <= result.keys() and result["heldout"].keys() == {"wer", "cer", "loss"}
    assert result["samples_lost"] == result["samples_repeated"] == 0
    lines = read(finished / "metrics.jsonl")
    named = {
        "step",
        "loss",
        "loss_text",
        "loss_audio",
        "grad_norm",
        "devices",
        "generation",
        "sample_ids_hash",
    }
    assert [line["step"] for line in lines] == list(range(result["steps"])) and named <= lines[
        0
    ].keys()
    assert "http" not in (finished / "report.html").read_text() and list(
        (finished / "tensorboard").iterdir()
    )


def test_ctrl_c_saves_and_the_same_command_resumes_to_the_same_bits(finished, tmp_path):
    """Both times in an environment that asks JAX for other numbers."""
    environment = FAST | HOSTILE
    with start(f"--workdir={tmp_path}", environment=environment) as process:
        try:
            until = time.monotonic() + LIMIT
            while (
                not read(tmp_path / "metrics.jsonl")
                and process.poll() is None
                and time.monotonic() < until
            ):
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    assert process.returncode not in (0, -signal.SIGINT) and "interrupted" in said, said
    assert len(read(tmp_path / "metrics.jsonl")) < len(read(finished / "metrics.jsonl"))
    resumed = run(f"--workdir={tmp_path}", environment=environment)
    assert resumed.returncode == 0, resumed.stderr
    assert trajectory(tmp_path) == trajectory(finished)


@pytest.mark.slow
def test_where_no_ring_is_left_the_command_fails_and_says_how_many_nodes_it_needs(tmp_path):
    faults = "; ".join(f"lose {node} before 1" for node in range(5))
    stopped = run(f"--config.faults={faults}", f"--workdir={tmp_path}")
    assert stopped.returncode not in (0, None) and "needs 2 nodes" in stopped.stderr, stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_a_mistyped_field_is_named_before_anything_starts(tmp_path):
    refused = run("--config.data.microbach=2", f"--workdir={tmp_path}/never")
    assert (
        refused.returncode != 0 and "microbach" in refused.stderr and "microbatch" in refused.stderr
    )
    assert not (tmp_path / "never").exists()


def test_a_folder_without_audio_is_one_sentence(tmp_path):
    digits = (*TRAIN, "--config=configs/digits.py")
    refused = run(f"--config.data.fsdd={tmp_path}", f"--workdir={tmp_path}/never", command=digits)
    assert refused.returncode != 0 and str(tmp_path) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "never").exists()
