"""Seconds of a step of the same global batch on 1, 4, 8 and 16 devices."""

import contextlib

import numpy as np
from ml_collections import ConfigDict

from stepjax.bench.result import Result
from stepjax.bench.trainers import prepared, trainer_on

MESHES = ((1, 1, 1), (2, 2, 4), (4, 2, 4), (8, 2, 4))  # nodes, GPUs of a node, devices of a ring


def run(config: ConfigDict) -> Result:
    """Steps on all meshes take turns, `config.turns` times, after one turn that does not count.

    Returns: rows with `devices`, `seconds` (median), `fastest`, `slowest`; the summary has
      `overhead`, the median over turns of 16 devices' seconds over one device's.
    """
    made = prepared(config.run, ring_size=4)
    with contextlib.ExitStack() as stack:
        trainers = [
            stack.enter_context(trainer_on(config.run, made, *mesh, config.run.data.microbatch))
            for mesh in MESHES
        ]
        turns = range(config.turns + 1)
        seconds = np.array([[trainer.seconds(n) for trainer in trainers] for n in turns])[1:]
    rows = [
        {
            "devices": num_nodes * gpus,
            "seconds": float(np.median(of_mesh)),
            "fastest": float(of_mesh.min()),
            "slowest": float(of_mesh.max()),
        }
        for (num_nodes, gpus, _), of_mesh in zip(MESHES, seconds.T, strict=True)
    ]
    ratios = seconds[:, -1] / seconds[:, 0]
    spread = {"fastest": float(ratios.min()), "slowest": float(ratios.max())}
    summary = {"overhead": float(np.median(ratios)), "overhead_over_turns": spread}
    return Result(rows, summary | {"steps": config.turns})
