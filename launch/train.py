"""Trains a speech-text model, and goes on training when nodes fail.

$ python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart
$ python -m launch.train --config=configs/quickstart.py --workdir=runs/processes --nodes=8
Without --nodes, the nodes are emulated in one process. With it, each is a process of its own here.
With --address=HOST:PORT of this machine, they come from other machines: see `launch.cluster`.
"""

import os

from launch import command


def main(config, workdir, nodes, address) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would fight for the cores
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's warnings are about our own settings
    with command.importing():
        from launch import devices, meeting
        from stepjax.train import loop
        from stepjax.train import nodes as processes
        from stepjax.train.check import check
    if nodes:
        config.fabric.num_nodes = command.number("--nodes", nodes, least=1)
    supervised = meeting.at(address) if address else None
    check(config)
    devices.start(config.fabric.num_nodes * config.fabric.gpus_per_node)
    if supervised:
        command.say(f"{config.fabric.num_nodes} nodes can come to {address}")
    if nodes or supervised:
        processes.train(config, workdir, supervised)
    else:
        loop.train(config, workdir)


if __name__ == "__main__":
    command.run(
        main,
        config=command.Flag("configs/quickstart.py", "What to train, and on what."),
        workdir=command.Flag("runs/quickstart", "Where logs, checkpoints and the report go."),
        nodes=command.Flag("", "How many nodes, each a process here; empty: emulated ones."),
        address=command.Flag("", "HOST:PORT here, to which each node comes from elsewhere."),
    )
