"""`launch.train` with configs/tiny.py, in a process of its own, as its users start it."""

import os
import subprocess
import sys
from pathlib import Path

from stepjax.train.jsonl import read

ROOT = Path(__file__).parents[1]
TRAIN = (sys.executable, "-m", "launch.train")
TINY = (*TRAIN, "--config=configs/tiny.py")
# The same losses from one ring and without faults: there is less to compile.
ALONE = (
    *TINY, "--config.faults=", "--config.fabric.kind=line", "--config.fabric.num_nodes=2",
    "--config.fabric.hops=1",
)  # fmt: skip
LIMIT = 240  # seconds, for a command on a busy machine
# It compiles faster than it trains slower.
FAST = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
# What may be set for another job on the same machine, and must not change a bit of this one.
HOSTILE = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
}


def run(
    *arguments: str, command: tuple[str, ...] = TINY, environment: dict[str, str] = FAST
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip


def start(
    *arguments: str, command: tuple[str, ...] = TINY, environment: dict[str, str] = FAST
) -> subprocess.Popen:
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def trajectory(workdir: Path) -> list[tuple]:
    return [(line["loss"], line["sample_ids_hash"]) for line in read(workdir / "metrics.jsonl")]
