"""Plays fault drills: processes are killed, hang and crash, and every run is held against its twin.

$ python -m launch.drill --nodes=4 --rounds=100 --seed=0 --workdir=runs/drill
$ python -m launch.drill --rounds=5 --faults="lose 1 during 4; back 1 before 7" --workdir=runs/drill
$ python -m launch.drill --config=configs/soak.py --trace=FILE --workdir=runs/soak
Writes result.json and report.html; the exit code is 0 only if every round recovered.
"""

import os

from launch import command


def main(config, nodes, rounds, seed, faults, trace, workdir) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would fight for the cores
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's warnings are about our own settings
    with command.importing():
        from stepjax.drill import drill
    config.faults = faults  # those of the config are for launch.train
    if nodes:
        config.fabric.num_nodes = command.number("--nodes", nodes, least=1)
    rounds, seed = command.number("--rounds", rounds, least=1), command.number("--seed", seed)
    if trace:
        planned = drill.soak(config, trace, seed)
    else:
        planned = drill.planned(config, rounds, seed)
    return command.DONE if drill.run(planned, workdir) else command.FAILED


if __name__ == "__main__":
    command.run(
        main,
        config=command.Flag("configs/drill.py", "What to train, and on what."),
        nodes=command.Flag("", "How many nodes, each a process here; empty: as the config says."),
        rounds=command.Flag("12", "How many rounds."),
        seed=command.Flag("0", "Of what is drawn; the same seed plays the same rounds."),
        faults=command.Flag("", "A fault plan for every round; empty: each round draws one."),
        trace=command.Flag("", "A fault trace, for one long run through all of it."),
        workdir=command.Flag("runs/drill", "Where result.json, the report and failed rounds go."),
    )
