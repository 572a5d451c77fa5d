"""Trains a speech-text model, and goes on training when nodes fail.

$ python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart
"""

import os

from launch import command


def main(config, workdir) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would fight for the cores
    with command.importing():
        from launch import devices
        from stepjax.train.check import check
        from stepjax.train.loop import train
    check(config)
    devices.start(config.fabric.num_nodes * config.fabric.gpus_per_node)
    train(config, workdir)


if __name__ == "__main__":
    command.run(
        main,
        config=command.Flag("configs/quickstart.py", "What to train, and on what."),
        workdir=command.Flag("runs/quickstart", "Where logs, checkpoints and the report go."),
    )
