"""Replays a cluster through faults: what each architecture can use, what it costs, how it is wired
anew.

$ python -m launch.simulate --experiment=waste --workdir=runs/waste
"""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from configs.simulate import get_config
from parallel.planner.simulate import EXPERIMENTS, simulate

CONFIG = config_flags.DEFINE_config_dict(
    "config", get_config(), "What no flag says; see configs/simulate.py."
)
EXPERIMENT = flags.DEFINE_string("experiment", "waste", f"One of {', '.join(EXPERIMENTS)}.")
WORKDIR = flags.DEFINE_string("workdir", "runs/simulate", "Where result.json and the figure go.")
ARGUMENTS = {
    "num_gpus": flags.DEFINE_integer("num_gpus", None, "GPUs of the cluster."),
    "num_nodes": flags.DEFINE_integer(
        "num_nodes", None, "Nodes of the fabric, for orchestrate and movie."
    ),
    "gpus_per_node": flags.DEFINE_integer(
        "gpus_per_node", None, "GPUs of a node, the unit that fails."
    ),
    "tensor": flags.DEFINE_list("tensor", None, "GPUs of a tensor-parallel ring."),
    "hops": flags.DEFINE_list(
        "hops", None, "How many nodes away a wire of a k-hop fabric reaches."
    ),
    "fault_ratio": flags.DEFINE_float(
        "fault_ratio", None, "Share of faulty nodes, for a single one."
    ),
    "fault_ratios": flags.DEFINE_list("fault_ratios", None, "Shares of faulty nodes."),
    "job_scales": flags.DEFINE_list("job_scales", None, "Jobs, as shares of all GPUs."),
    "draws": flags.DEFINE_integer(
        "draws", None, "How often faults are laid on the cluster at random."
    ),
    "seed": flags.DEFINE_integer("seed", None, "Of everything that is random."),
    "trace": flags.DEFINE_string(
        "trace", None, "A fault trace to replay; without it, faults are drawn at its rates."
    ),
}


def main(_) -> None:
    given = {name: flag.value for name, flag in ARGUMENTS.items()}
    try:
        simulate(EXPERIMENT.value, given, CONFIG.value.to_dict(), Path(WORKDIR.value))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    app.run(main)
