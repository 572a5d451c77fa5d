"""The experiments by name: their settings, a table for people, result.json for programs, and a
figure.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from parallel.fabric.faults import FaultPlan
from parallel.fabric.trace import Trace, read_trace
from parallel.planner import cost, crossing, figures, goodput, movie, page, replay, scaling

RATIOS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.12, 0.15, 0.2)


@dataclass(frozen=True)
class Arguments:
    """What flags may set; the defaults are the paper's cluster, and experiments change them."""

    num_gpus: int = 2880
    num_nodes: int = 1_000_000
    gpus_per_node: int = 4
    tensor: tuple[int, ...] = (8, 16, 32, 64)  # GPUs of a ring
    hops: tuple[int, ...] = (2, 3)
    fault_ratio: float = 0.05
    fault_ratios: tuple[float, ...] = RATIOS
    job_scales: tuple[float, ...] = (0.8, 0.85, 0.9, 0.95, 1.0)
    draws: int = 8
    seed: int = 0
    trace: str | None = None

    @property
    def cluster(self) -> replay.Cluster:
        return replay.Cluster(self.num_gpus, self.gpus_per_node)

    @property
    def names(self) -> list[str]:
        return replay.contenders(self.hops)

    def one(self, name: str):
        """The only element of a list."""
        values = getattr(self, name)
        if len(values) != 1:
            raise ValueError(f"this experiment takes one value of --{name}, not {len(values)}.")
        return values[0]


LISTS = {"tensor": int, "hops": int, "fault_ratios": float, "job_scales": float}


@dataclass(frozen=True)
class Result:
    rows: list[dict]
    notes: tuple[str, ...] = ()  # what a reader should know first
    pages: Mapping[str, str] = field(default_factory=dict)  # files beside the figure


@dataclass(frozen=True)
class Experiment:
    run: Callable[[Arguments, Mapping], Result]
    uses: tuple[str, ...]  # arguments
    assumes: tuple[str, ...] = ()  # parts of the config
    figure: Callable[[list[dict], Path], None] | None = None
    defaults: Mapping = field(default_factory=dict)


def simulate(name: str, given: Mapping[str, object], config: Mapping, workdir: Path) -> Result:
    """Runs an experiment, prints its table, and writes result.json and its figure into
    `workdir`.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"there is no experiment {name!r}: take one of {', '.join(EXPERIMENTS)}.")
    chosen = EXPERIMENTS[name]
    given = {key: value for key, value in given.items() if value is not None}
    for key in given.keys() - set(chosen.uses):
        print(f"--{key} means nothing to the experiment {name}.")
    arguments = Arguments(
        **(chosen.defaults | {key: _read(key, value) for key, value in given.items()})
    )
    result = chosen.run(arguments, config)
    stated = {key: getattr(arguments, key) for key in chosen.uses} | {
        key: config[key] for key in chosen.assumes
    }
    workdir.mkdir(parents=True, exist_ok=True)
    files = {
        "result.json": json.dumps(
            {"experiment": name, "arguments": stated, "rows": result.rows}, indent=1
        )
    }
    for file, text in (files | result.pages).items():
        (workdir / file).write_text(text, "utf-8")
    if chosen.figure:
        chosen.figure(result.rows, workdir / f"{name}.png")
    show(name, result)
    written = [*files, *result.pages, *([f"{name}.png"] if chosen.figure else [])]
    print(f"Written to {workdir}: {', '.join(written)}")
    return result


def _read(key: str, value: object) -> object:
    """The texts of a list as numbers."""
    if key not in LISTS:
        return value
    kind = LISTS[key]
    try:
        numbers = tuple(map(kind, value))
    except ValueError as error:
        raise ValueError(
            f"--{key}={','.join(value)}: these are not {kind.__name__} numbers with commas."
        ) from error
    if not numbers:
        raise ValueError(f"--{key} is empty: give at least one number.")
    return numbers


def show(name: str, result: Result) -> None:
    """A table of everything that is a single value, and what to know about it."""
    table = Table(title=name.replace("_", " "), title_justify="left", title_style="bold")
    keys = [key for key, value in result.rows[0].items() if not isinstance(value, (list, tuple))]
    for key in keys:
        number = isinstance(result.rows[0][key], (int, float))
        table.add_column(key.replace("_", " "), justify="right" if number else "left", no_wrap=True)
    for row in result.rows:
        table.add_row(*(words(key, row[key]) for key in keys))
    console = Console()
    console.width = max(
        console.width, Console(width=1000).measure(table).maximum
    )  # no number is cut short
    console.print(table)
    for note in result.notes:
        console.print(note, highlight=False)


def words(key: str, value: object) -> str:
    """A value as people write it: shares of one as per cent, times with a unit.

    >>> words("mean", 0.00532), words("seconds_full", 0.00042), words("dollars_per_gpu", 2626.8), words("tensor", 32)
    ('0.532 %', '0.420 ms', '2,626.80', '32')
    """
    if not isinstance(value, float):
        return str(value)
    if key.startswith("seconds"):
        return f"{value * 1e3:,.3f} ms"
    if key in ("groups", "rings_changed") or "_per_" in key:
        return f"{value:,.2f}"
    return f"{value:.3%}".replace("%", " %")


def _trace(a: Arguments, config: Mapping) -> Trace | None:
    return read_trace(a.trace, **config["trace"]) if a.trace else None


def _about(trace: Trace | None) -> tuple[str, ...]:
    if trace is None:
        return (
            "Faults are drawn at the rates of the published trace; --trace replays a real one.",
        )
    return (
        f"{len(trace.node)} outages of {trace.num_nodes} servers over {trace.days:g} days: "
        f"{trace.faulty_share:.2%} "
        "of the servers are faulty in the mean over time.",
    )


def _over_time(rows_of: Callable) -> Callable[[Arguments, Mapping], Result]:
    """An experiment on states that follow one another in time."""

    def run(a: Arguments, config: Mapping) -> Result:
        trace = _trace(a, config)
        return Result(rows_of(a, replay.replayed(a.cluster, trace, a.draws, a.seed)), _about(trace))

    return run


def run_waste_vs_fault_ratio(a: Arguments, config: Mapping) -> Result:
    return Result(
        replay.waste_vs_fault_ratio(a.cluster, a.fault_ratios, a.draws, a.seed, a.names, a.tensor)
    )


def run_cross_tor(a: Arguments, config: Mapping) -> Result:
    points = crossing.sweeps(a.fault_ratios, a.job_scales, a.fault_ratio)
    tables = (
        crossing.cross_tor(
            a.cluster, config["job"], config["tree"], tensor, hops, points, a.draws, a.seed
        )
        for tensor, hops in product(a.tensor, a.hops)
    )
    return Result([row for table in tables for row in table])


def run_cost(a: Arguments, config: Mapping) -> Result:
    settings = (
        a.cluster,
        a.one("tensor"),
        a.hops,
        list(a.fault_ratios),
        a.draws,
        a.seed,
        config["gpu_dollars"],
    )
    rows = cost.cost(*settings)
    khop = [row for row in rows if row["architecture"].startswith("khop")]
    notes = [
        f"{row['architecture']} costs {row['of_nvl72']:.0%} of nvl72 per GBps." for row in khop
    ]
    for one, other in zip(khop, khop[1:], strict=False):
        at = cost.crossing(
            a.fault_ratios, *(row["aggregate_dollars_per_gpu"] for row in (one, other))
        )
        if at is not None:
            names = other["architecture"], one["architecture"]
            notes.append(
                f"With idle GPUs paid for, {names[0]} is cheaper than {names[1]} from {at:.1%} of "
                "faults."
            )
    return Result(rows, tuple(notes))


def run_orchestrate(a: Arguments, config: Mapping) -> Result:
    settings = a.num_nodes, a.gpus_per_node, a.one("tensor"), a.one("hops"), a.fault_ratio, a.seed
    return Result(
        scaling.orchestrate(*settings),
        ("An incremental change is the median of nodes lost and back.",),
    )


def run_goodput(a: Arguments, config: Mapping) -> Result:
    trace, recovery = _trace(a, config), goodput.Recovery(**config["recovery"])
    rows = goodput.goodput(
        a.cluster, trace, a.names, a.tensor, a.job_scales, recovery, a.draws, a.seed
    )
    return Result(rows, _about(trace))


def run_movie(a: Arguments, config: Mapping) -> Result:
    plan = FaultPlan.parse(config["movie"]["faults"])
    shown = movie.frames(a.num_nodes, a.gpus_per_node, a.one("hops"), a.one("tensor"), plan)
    keys = ("when", "kind", "title", "seconds", "commands")
    rows = [{key: getattr(frame, key) for key in keys} for frame in shown]
    return Result(rows, pages={"movie.html": page.page(shown, plan)})


CLUSTER = ("num_gpus", "gpus_per_node", "tensor", "hops", "draws", "seed")
EXPERIMENTS = {
    "waste": Experiment(
        _over_time(lambda a, draws: replay.waste(a.cluster, draws, a.names, a.tensor)),
        (*CLUSTER, "trace"),
        ("trace",),
        figures.waste,
    ),
    "waste_vs_fault_ratio": Experiment(
        run_waste_vs_fault_ratio,
        (*CLUSTER, "fault_ratios"),
        (),
        figures.waste_vs_fault_ratio,
    ),
    "job_scale": Experiment(
        _over_time(lambda a, draws: replay.job_scale(a.cluster, draws, a.names, a.tensor)),
        (*CLUSTER, "trace"),
        ("trace",),
        figures.job_scale,
    ),
    "waiting": Experiment(
        _over_time(
            lambda a, draws: replay.waiting(a.cluster, draws, a.names, a.tensor, a.job_scales)
        ),
        (*CLUSTER, "trace", "job_scales"),
        ("trace",),
        figures.waiting,
        {
            "tensor": (32,),
            "job_scales": (0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 1.0),
        },
    ),
    "cross_tor": Experiment(
        run_cross_tor,
        (*CLUSTER, "fault_ratio", "fault_ratios", "job_scales"),
        ("job", "tree"),
        figures.cross_tor,
        {"num_gpus": 8192, "tensor": (32,), "hops": (2,), "draws": 4}
        | {"job_scales": (0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92)},
    ),
    "cost": Experiment(
        run_cost,
        (*CLUSTER, "fault_ratios"),
        ("gpu_dollars",),
        figures.cost,
        {"tensor": (32,)},
    ),
    "orchestrate": Experiment(
        run_orchestrate,
        ("num_nodes", "gpus_per_node", "tensor", "hops", "fault_ratio", "seed"),
        (),
        figures.orchestrate,
        {"tensor": (32,), "hops": (2,)},
    ),
    "goodput": Experiment(
        run_goodput,
        (*CLUSTER, "trace", "job_scales"),
        ("trace", "recovery"),
        figures.goodput,
        {"tensor": (32,)},
    ),
    "movie": Experiment(
        run_movie,
        ("num_nodes", "gpus_per_node", "tensor", "hops"),
        ("movie",),
        None,
        {"num_nodes": 18, "tensor": (16,), "hops": (2,)},
    ),
}
