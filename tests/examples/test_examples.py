"""Every example runs as its head says, and prints what it promises."""

import subprocess
import sys
from pathlib import Path

import begun
import numpy as np
import soundfile
import tiny_run

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-W", "error", "-m", f"examples.{name}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_rings_go_around_the_lost_nodes(tmp_path):
    said = run("rings", tmp_path / "rings.svg")
    assert "without nodes 3 and 6: (0, 1) (2, 4) (5, 7)" in said
    assert "the light from node 2: (2, 0) (4, 0) (4, 1) (2, 1)" in said
    drawn = (tmp_path / "rings.svg").read_text()
    assert drawn == (ROOT / "parallel/show/rings.svg").read_text()


def test_every_send_of_our_collective_has_its_circuit():
    said = run("collective")
    assert "not made of sends to a neighbour: ours [] XLA's 1" in said
    assert "sends without a circuit: []" in said
    links = said.splitlines()[-12:]  # three rings of four GPUs; three hops of 256 bytes
    assert all(line.split()[2:] == ["768", "0"] for line in links)


def test_a_run_is_opened_and_hears(tmp_path):
    begun.run(tmp_path / "run", tiny_run.config())
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    soundfile.write(tmp_path / "a.wav", tone, 16_000)
    said = run("open_run", tmp_path / "run", tmp_path / "a.wav")
    assert "300 ids of text, 16 codes of speech" in said
    assert f"{tmp_path / 'a.wav'}:" in said.splitlines()[-1]


def test_every_example_is_short_and_tried_here():
    files = sorted((ROOT / "examples").glob("*.py"))
    tried = Path(__file__).read_text()
    assert [path.stem for path in files if f'run("{path.stem}"' not in tried] == []
    assert [path.stem for path in files if len(path.read_text().splitlines()) > 70] == []


def test_a_job_of_ones_own_survives_in_both_worlds():
    emulated, processes = run("survive").splitlines()
    assert emulated.startswith("emulated:  {0: 15, ")
    assert emulated.split(":", 1)[1].strip() == processes.split(":", 1)[1].strip()
