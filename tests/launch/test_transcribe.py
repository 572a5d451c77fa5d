"""The command as its users type it, on a run of digits made of tones: lines, rates, refusals."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
LIMIT = 240  # seconds, for a command on a busy machine
RATE = 8_000
FAST = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
SMALL = (
    "steps=12", "data.heldout=7", "data.max_digits=2", "data.max_seconds=1.0", "data.text_size=300",
    "data.heldout_below=1", "data.audio_codes=16", "data.global_batch=8", "data.microbatch=4",
    "model.adaptor_hidden=16", "model.encoder.width=16", "model.encoder.hidden=32",
    "model.encoder.layers=1", "model.decoder.width=16", "model.decoder.heads=4",
    "model.decoder.head_size=4", "model.decoder.hidden=32", "model.decoder.layers=1",
    "optimizer.warmup=2", "optimizer.learning_rate=0.02", "evaluate.every=0",
)  # fmt: skip


def run(module: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT, env=FAST, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip


def transcribe(*arguments: str) -> subprocess.CompletedProcess:
    done = run("launch.transcribe", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    t = np.arange(round(0.2 * RATE)) / RATE
    for digit in range(10):
        for index in range(3):
            tone = 0.8 * 0.7**index * np.sin(2 * np.pi * (200 + 100 * digit) * t)
            soundfile.write(folder / f"{digit}_ann_{index}.wav", tone, RATE)
    return folder


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("run")
    changes = [f"--config.{change}" for change in (*SMALL, f"data.fsdd={tones}")]
    done = run("launch.train", "--config=configs/digits.py", f"--workdir={workdir}", *changes)
    assert done.returncode == 0, done.stderr
    return workdir


def test_the_heldout_part_has_the_error_rates_of_the_run(trained):
    done = transcribe(f"--run={trained}", "--heldout")
    *lines, last = done.stdout.splitlines()
    wanted = json.loads((trained / "result.json").read_text())["heldout"]
    assert done.returncode == 0 and len(lines) == 7 and last.startswith("7 recordings: ")
    assert re.search(r"\((\S+) and (\S+)\)$", last).groups() == (
        repr(wanted["wer"]),
        repr(wanted["cer"]),
    )


def test_files_have_a_line_each_and_a_bad_one_fails_the_command(trained, tones, tmp_path):
    good, bad = tones / "3_ann_0.wav", tmp_path / "bad.wav"
    bad.write_text("no sound")
    done = transcribe(f"--run={trained}", bad, good)
    refused, heard = done.stdout.splitlines()
    assert done.returncode == 1
    assert refused.startswith(f"{bad}: not used, no header: ") and heard.startswith(f"{good}: ")
    assert transcribe(f"--run={trained}", good).returncode == 0


def test_a_manifest_brings_error_rates(trained, tones):
    lines = [{"audio": f"{digit}_ann_0.wav", "text": "one"} for digit in range(3)]
    (tones / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = transcribe(f"--run={trained}", f"--manifest={tones / 'm.jsonl'}")
    assert done.returncode == 0
    assert re.match(r"3 recordings: word error rate \S+ %, character", done.stdout.splitlines()[3])


@pytest.mark.parametrize("arguments", [(), ("--heldout", "a.wav")])
def test_what_to_hear_is_said_once(trained, arguments):
    done = transcribe(f"--run={trained}", *arguments)
    assert done.returncode == 2 and "--manifest=FILE, or --heldout: one of" in done.stderr


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    done = transcribe(f"--run={tmp_path}", "a.wav")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.strip() == (
        f"{tmp_path} holds no run, since config.json is missing; name a --workdir of one."
    )
