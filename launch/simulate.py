"""Replays a cluster through faults: what each architecture can use, what it costs, and how the
circuits switch.

$ python -m launch.simulate --experiment=waste --workdir=runs/waste
"""

from launch import command


def main(experiment, config, workdir) -> None:
    with command.importing():
        from parallel.planner.simulate import simulate
    simulate(experiment, config.to_dict(), workdir)


if __name__ == "__main__":
    command.run(
        main,
        experiment=command.Flag(
            "waste",
            "Which one: waste, waste_vs_fault_ratio, job_scale, waiting, cross_tor, cost, "
            "placement_time, goodput or movie.",
        ),
        config=command.Flag("configs/simulate.py", "The settings of every experiment."),
        workdir=command.Flag("runs/simulate", "Where result.json and the figure go."),
    )
