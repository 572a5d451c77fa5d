"""Measures what the README claims, side by side in one run; prints a table and writes result.json.

$ python -m launch.bench --suite=mesh --workdir=runs/bench
$ python -m launch.bench --suite=recovery --workdir=runs/bench
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import sys
import tempfile
from pathlib import Path

import jax
from absl import app, flags, logging
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from configs import bench
from stepjax.train import measure

SUITE = flags.DEFINE_enum("suite", "mesh", ["mesh", "recovery"], "What to measure.")
WORKDIR = flags.DEFINE_string("workdir", "runs/bench", "Where result.json goes.")
STEPS = flags.DEFINE_integer("steps", 7, "mesh: counted steps on each mesh.", lower_bound=1)
RESTARTS = flags.DEFINE_integer(
    "restarts", 3, "recovery: restarts of the whole process.", lower_bound=1
)

FAULTS = "lose 3 during 24; back 3 before 28; lose 5 during 32; back 5 before 36; lose 0 during 40"
TRAIN = (
    sys.executable, "-m", "launch.train", "--config=configs/quickstart.py", "--config.steps=1000",
    "--config.checkpoint.every=10", f"--config.faults={FAULTS}",
)  # fmt: skip


def print_table(rows: list[dict], summary: dict) -> None:
    flat = [row | row.get("phases", {}) for row in rows]
    columns = [name for name in max(flat, key=len) if name != "phases"]
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for row in flat:
        table.add_row(
            *(
                f"{x:.3f}" if isinstance(x, float) else str(x)
                for x in (row.get(c, "") for c in columns)
            )
        )
    Console().print(table)
    Console().print({name: value for name, value in summary.items() if name != "phases"})


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    jax.config.update("jax_num_cpu_devices", 16)
    if SUITE.value == "mesh":
        rows, summary = measure.mesh_overhead(bench.get_config(), STEPS.value)
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows, summary = measure.recovery_against_restart(
                list(TRAIN), Path(folder), RESTARTS.value
            )
    print_table(rows, summary)
    folder = Path(WORKDIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    result = {"suite": SUITE.value, "rows": rows, "summary": summary}
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
