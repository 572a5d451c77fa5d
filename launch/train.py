"""Trains a speech-text model, and goes on training when nodes fail.

$ python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart
$ python -m launch.train --config=configs/quickstart.py --workdir=runs/processes --nodes=8
Without --nodes, the nodes are emulated in one process. With it, each is a process of its own.
"""

import os

from launch import command


def main(config, workdir, nodes) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would fight for the cores
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's warnings are about our own settings
    with command.importing():
        from launch import devices
        from stepjax.train import loop
        from stepjax.train import nodes as processes
        from stepjax.train.check import check
    if nodes:
        config.fabric.num_nodes = command.whole("--nodes", nodes)
    check(config)
    devices.start(config.fabric.num_nodes * config.fabric.gpus_per_node)
    (processes if nodes else loop).train(config, workdir)


if __name__ == "__main__":
    command.run(
        main,
        config=command.Flag("configs/quickstart.py", "What to train, and on what."),
        workdir=command.Flag("runs/quickstart", "Where logs, checkpoints and the report go."),
        nodes=command.Flag("", "How many nodes, each a process here; empty: emulated ones."),
    )
