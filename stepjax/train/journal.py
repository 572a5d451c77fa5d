"""Everything that a run leaves behind for people and programs, behind one object.

metrics.jsonl has a line a step, events.jsonl a line an event; TensorBoard and the terminal get the
same.
"""

import json
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from parallel.elastic.supervisor import Generation
from parallel.fabric.faults import FaultPlan
from stepjax.report.terminal import Progress
from stepjax.train.board import Board
from stepjax.train.jsonl import Log, read, truncate
from stepjax.train.trainer import Measured, Recovered

FREE = ("faults", "checkpoint", "evaluate")  # parts of a config that do not change the trajectory


class Journal:
    """The files of one workdir.

    Raises: ValueError if `workdir` holds a run of another config.
    """

    def __init__(self, workdir: Path, config: ConfigDict):
        workdir.mkdir(parents=True, exist_ok=True)
        _check_same_run(workdir, config)
        self.metrics, self.events = Log(workdir / "metrics.jsonl"), Log(workdir / "events.jsonl")
        self._board_folder = workdir / "tensorboard"
        self._board: Board | None = None
        self._progress = Progress(
            config.steps, config.fabric.num_nodes * config.fabric.gpus_per_node
        )

    def __enter__(self) -> "Journal":
        self._progress.__enter__()
        return self

    def __exit__(self, *error) -> None:
        if self._board:
            self._board.close()
        self._progress.__exit__(*error)

    def begin(self, step: int) -> int:
        """The run goes on at `step`: what was logged of it and later steps is dropped. Returns how
        many steps.
        """
        if self._board:
            self._board.close()
        self._board = Board(self._board_folder, step)
        return truncate(self.metrics.path, lambda line: line["step"] < step)

    def injected(self) -> list[str]:
        """The events of the fault plan that have happened, in this process or an earlier one."""
        return [line["what"] for line in read(self.events.path) if line["event"] == "injected"]

    def event(self, name: str, step: int, **fields: Any) -> None:
        record = {"event": name, "step": step, "time": time.time(), **fields}
        self.events.write(record)
        self._progress.event(record)

    def generation(self, step: int, generation: Generation, num_nodes: int) -> None:
        mesh = generation.mesh
        self.event(
            "generation", step,
            generation=generation.number,
            alive=generation.members.nodes,
            away=set(range(num_nodes)) - generation.members.nodes,
            groups=generation.placement.groups,
            mesh=dict(mesh.shape),
            devices=mesh.devices.size,
            switched=len(generation.switching.commands),
            switch_seconds=generation.switching.seconds,
        )  # fmt: skip

    def recovery(self, step: int, recovered: Recovered, steps_lost: int) -> None:
        phases = recovered.watch.phases
        self.event(
            "recovery", step,
            generation=recovered.generation.number,
            gone=recovered.gone,
            back=recovered.back,
            phases=phases,
            seconds=sum(phases.values()),
            state_from=recovered.state_from,
            steps_lost=steps_lost,
        )  # fmt: skip

    def step(
        self, step: int, measured: Measured, seconds: float, generation: Generation, **fields: Any
    ) -> None:
        """One line of metrics.jsonl; `fields` are learning_rate and sample_ids_hash."""
        record = {
            "step": step,
            "loss": measured.loss,
            **{f"loss_{kind}": loss for kind, loss in measured.loss_by_kind.items()},
            "grad_norm": measured.grad_norm,
            "tokens": measured.tokens,
            "seconds": seconds,
            "tokens_per_second": measured.tokens / seconds,
            "devices": generation.mesh.devices.size,
            "generation": generation.number,
            **fields,
        }
        self.metrics.write(record)
        self._board.write(
            step, {k: v for k, v in record.items() if k not in ("step", "sample_ids_hash")}
        )
        self._progress.step(record)


def still_to_come(plan: FaultPlan, injected: list[str]) -> FaultPlan:
    """What a process that resumes a run has before it.

    It starts with every node in place: events that have happened do not happen again, and a node
    whose loss has happened does not come back a second time.
    """
    left, away = [], set()
    for fault in plan.faults:
        if fault.kind == "lose" and str(fault) not in injected:
            left.append(fault)
            away.add(fault.node)
        elif fault.kind == "back" and fault.node in away:
            left.append(fault)
            away.remove(fault.node)
    return FaultPlan(tuple(left))


def _check_same_run(workdir: Path, config: ConfigDict) -> None:
    """Keeps the config beside the run, and refuses to go on with one that would train
    differently.
    """
    path = workdir / "config.json"
    now = json.loads(config.to_json_best_effort())
    if path.exists():
        before = json.loads(path.read_text())
        for name, (old, new) in _differences(before, now):
            if name.split(".")[0] not in FREE:
                raise ValueError(
                    f"{workdir} holds a run with {name}={old!r}, and now it is {new!r}; "
                    "use another --workdir, or the old value to resume."
                )
    path.write_text(json.dumps(now, indent=1) + "\n")


def _differences(before: Any, now: Any, name: str = "") -> list[tuple[str, tuple[Any, Any]]]:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [(name, (before, now))] if before != now else []
    keys = sorted(before.keys() | now.keys())
    return [
        d
        for k in keys
        for d in _differences(before.get(k), now.get(k), f"{name}.{k}" if name else k)
    ]
