"""The command as its users type it: a run, its files, an interruption, a refusal."""

import contextlib
import json
import signal
import time
from pathlib import Path

import pytest
from tiny_command import FAST, HOSTILE, LIMIT, TRAIN, run, start, trajectory

from stepjax.train.jsonl import read


def test_a_run_leaves_what_the_readme_says(finished):
    result = json.loads((finished / "result.json").read_text())
    wanted = {
        "steps", "final_loss", "first_loss", "tokens_per_second", "faults", "rejoins",
        "generations", "steps_lost", "samples_lost", "samples_repeated", "recovery_seconds",
        "heldout", "skipped_files", "mixed_files", "goodput",
        "skipped_steps",
    }  # fmt: skip
    assert wanted <= result.keys() and result["heldout"].keys() == {"wer", "cer", "loss"}
    assert result["samples_lost"] == result["samples_repeated"] == 0
    lines = read(finished / "metrics.jsonl")
    named = {
        "step", "loss", "loss_text", "loss_audio", "grad_norm", "devices", "generation",
        "sample_ids_hash",
    }  # fmt: skip
    assert [line["step"] for line in lines] == list(range(result["steps"]))
    assert named <= lines[0].keys()
    assert "http" not in (finished / "report.html").read_text()
    assert list((finished / "tensorboard").iterdir())


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def takes_sigterm(pid: int, folder: Path) -> bool:
    status = dict(
        line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return bool(int(status["SigCgt"], 16) >> signal.SIGTERM - 1 & 1)


def compiles(pid: int, folder: Path) -> bool:
    recipe = folder / "run/recipe"
    return recipe.exists() and time.time() > recipe.stat().st_mtime + 2


MOMENTS = {
    "start": takes_sigterm,
    "import": lambda pid, folder: "jaxlib" in Path(f"/proc/{pid}/maps").read_text(),
    "corpus": lambda pid, folder: bool(children(pid)),  # the speech engine
    "compilation": compiles,
    "step": lambda pid, folder: bool(read(folder / "run/metrics.jsonl")),
    "save": lambda pid, folder: any((folder / "run/checkpoints").glob("*.partial")),
}


def interrupted_at(
    moment: str,
    folder: Path,
    number: int = signal.SIGINT,
    environment: dict[str, str] = FAST,
) -> tuple[int, str]:
    """The exit code and the last words of a run that gets a signal at a moment; the processes that
    it had, and its temporary files, must have gone.
    """
    (folder / "tmp").mkdir()
    environment = environment | {"TMPDIR": str(folder / "tmp"), "HOME": str(folder)}
    with start(f"--workdir={folder}/run", environment=environment) as process:
        try:
            until = time.monotonic() + LIMIT
            while not MOMENTS[moment](process.pid, folder) and time.monotonic() < until:
                assert process.poll() is None, f"{moment} did not come"
                time.sleep(0.005)
            had = children(process.pid)
            process.send_signal(number)
            began = time.monotonic()
            _, said = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    assert time.monotonic() < began + LIMIT / 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in had)
    assert not list((folder / "tmp").iterdir())
    return process.returncode, said


@pytest.mark.parametrize("moment", ["start", "import", "corpus", "compilation"])
def test_ctrl_c_before_the_first_step_ends_in_order(moment, tmp_path):
    assert interrupted_at(moment, tmp_path) == (130, "interrupted.\n")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["corpus", "step", "save"])
def test_a_run_that_was_interrupted_anywhere_goes_on_to_the_same_bits(moment, finished, tmp_path):
    code, _ = interrupted_at(moment, tmp_path, signal.SIGTERM)
    assert code == 130
    assert run(f"--workdir={tmp_path}/run").returncode == 0
    assert trajectory(tmp_path / "run") == trajectory(finished)


def test_ctrl_c_saves_and_the_same_command_resumes_to_the_same_bits(finished, tmp_path):
    """Both times in an environment that asks JAX for other numbers."""
    environment = FAST | HOSTILE
    code, said = interrupted_at("step", tmp_path, environment=environment)
    assert code == 130 and "interrupted; the same command goes on" in said, said
    assert len(read(tmp_path / "run/metrics.jsonl")) < len(read(finished / "metrics.jsonl"))
    resumed = run(f"--workdir={tmp_path}/run", environment=environment)
    assert resumed.returncode == 0, resumed.stderr
    assert trajectory(tmp_path / "run") == trajectory(finished)


@pytest.mark.slow
def test_where_no_ring_is_left_the_command_fails_and_says_how_many_nodes_it_needs(tmp_path):
    faults = "; ".join(f"lose {node} before 1" for node in range(5))
    stopped = run(f"--config.faults={faults}", f"--workdir={tmp_path}")
    assert stopped.returncode == 1 and "needs 2 nodes" in stopped.stderr, stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_a_mistyped_field_is_named_before_anything_starts(tmp_path):
    refused = run("--config.data.microbach=2", f"--workdir={tmp_path}/never")
    assert refused.returncode == 2
    assert refused.stderr == ("the config has no field data.microbach: use data.microbatch.\n")
    assert not (tmp_path / "never").exists()


def test_a_folder_without_audio_is_one_sentence(tmp_path):
    digits = (*TRAIN, "--config=configs/digits.py")
    refused = run(f"--config.data.fsdd={tmp_path}", f"--workdir={tmp_path}/never", command=digits)
    assert refused.returncode == 1 and str(tmp_path) in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "never").exists()
