"""Trains a speech-text model, and goes on training when nodes fail.

$ python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart
"""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # before NumPy: its threads would fight the training for cores

import sys
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from stepjax.train.loop import Stopped, train
from stepjax.train.trainer import NotFinite

CONFIG = config_flags.DEFINE_config_file(
    "config", "configs/quickstart.py", "What to train, and on what."
)
WORKDIR = flags.DEFINE_string(
    "workdir", "runs/quickstart", "Where logs, checkpoints and the report go."
)


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)
    config = CONFIG.value
    jax.config.update("jax_num_cpu_devices", config.fabric.num_nodes * config.fabric.gpus_per_node)
    try:
        train(config, Path(WORKDIR.value))
    except (ValueError, Stopped, NotFinite) as error:
        sys.exit(f"{type(error).__name__}: {error}" if isinstance(error, NotFinite) else str(error))


if __name__ == "__main__":
    app.run(main)
