"""Measures what the README claims, side by side in one run; prints a table, writes result.json.

$ python -m launch.bench --suite=mesh --workdir=runs/bench
$ python -m launch.bench --suite=recovery --workdir=runs/bench
$ python -m launch.bench --suite=step --workdir=runs/bench
"""

import os

from launch import command


def main(config, suite, workdir) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads would fight for the cores
    with command.importing():
        from launch import devices
        from stepjax.bench import suites
    devices.start(suites.named(suite).devices)
    suites.measure(suite, config, workdir)


if __name__ == "__main__":
    command.run(
        main,
        config=command.Flag("configs/bench.py", "What each suite measures with."),
        suite=command.Flag("mesh", "What to measure: mesh, recovery or step."),
        workdir=command.Flag("runs/bench", "Where result.json goes."),
    )
