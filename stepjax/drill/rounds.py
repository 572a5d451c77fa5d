"""One round: a run on processes that fail as a plan says, beside the same run without faults.

    twin   emulated nodes, no faults; compiles what either of them needs, unless it is there
    run    `stepjax.train.nodes`, as launch.train --nodes=N runs it: real processes, real signals

Each is behind a fence. The round counts as recovered if nothing tells the two apart.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import jax
from ml_collections import ConfigDict

from parallel.elastic.processes import member
from stepjax import numerics
from stepjax.drill import fence
from stepjax.drill.matrix import Round
from stepjax.report import story
from stepjax.report.story import Story
from stepjax.train import loop, nodes
from stepjax.train.events import Injected, Slow, Start, parse_step
from stepjax.train.jsonl import read

RUN, TWIN = "run", "twin"  # folders
LIMIT_S = 300.0  # of a run, or TIMES as long as its twin took
TIMES = 10
TWIN_LIMIT_S = 3600.0  # that of the first round compiles


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a round."""

    round: Round
    why: str  # it did not recover, in a sentence; "" if it did
    seconds: float  # of the run
    twin_seconds: float
    max_loss_difference: float | None  # None: there is no step that both have done
    left_behind: tuple[str, ...]
    run: Story

    @property
    def recovered(self) -> bool:
        return not self.why


def play(
    config: ConfigDict,
    round: Round,
    shapes: Collection[tuple[int, ...]],
    folder: Path,
    programs: Path,
    limit_s: float | None = None,
) -> Outcome:
    """Plays a round, in a folder that stays only if the round did not recover.

    Args:
      shapes: of the meshes that the run will have.
      programs: a folder for compiled programs; all rounds of it have the same config, but for seed
        and faults.
      limit_s: of the run.
    """
    quiet, faulty = _config(config, round, ""), _config(config, round, str(round.plan))
    there, here = folder / TWIN, folder / RUN
    first = fence.run(_train_twin, (quiet, there, programs, shapes), there, TWIN_LIMIT_S)
    if first.code != 0:  # there is nothing to hold the run against
        why = f"its twin had {_end_of(first, there)}"
        return Outcome(round, why, 0.0, first.seconds, None, first.left_behind, story.load(here))
    limit_s = limit_s or max(LIMIT_S, TIMES * first.seconds)
    ended = fence.run(_train, (faulty, here, programs), here, limit_s, _killing(round, here))
    twin, run = story.load(there), story.load(here)
    left = (*first.left_behind, *ended.left_behind)
    why = difference(round, twin, run) if ended.code == 0 else _end_of(ended, here)
    if not why and left:
        why = f"something was left behind: {', '.join(left)}."
    if not why:
        shutil.rmtree(folder)
    apart = furthest(twin, run)
    return Outcome(round, why, ended.seconds, first.seconds, apart, left, run)


def _killing(round: Round, folder: Path) -> Callable[[], bool] | None:
    """Whether the supervisor of a run is to be killed now; None if it never is."""
    if round.supervisor is None:
        return None
    return lambda: any(
        line.step >= round.supervisor for line in read(folder / "metrics.jsonl", parse_step)
    )


def difference(round: Round, twin: Story, run: Story) -> str:
    """What tells a run that has ended from its twin, in a sentence; "" if nothing does."""
    happened = [event.what for event in run.of(Injected)]
    for fault in round.plan.faults:
        if str(fault) not in happened:
            return f"'{fault}' has not happened."
    slow = {fault.node for fault in round.plan.faults if fault.kind == "slow"}
    if not slow <= {event.node for event in run.of(Slow)}:
        return f"nobody has noticed that node {min(slow)} is slow."
    if round.supervisor is not None and not any(event.resumed for event in run.of(Start)):
        return "the supervisor was not killed: the run was over before."
    if [line.step for line in run.steps] != [line.step for line in twin.steps]:
        return f"it has logged {len(run.steps)} steps, and its twin {len(twin.steps)}."
    for ours, theirs in zip(run.steps, twin.steps, strict=True):
        if ours.loss != theirs.loss:
            return (
                f"the loss of step {ours.step} is {ours.loss}, and that of its twin {theirs.loss}."
            )
    if run.result.get("heldout") != twin.result.get("heldout"):
        return (
            f"its held-out score is {run.result.get('heldout')}, and that of its twin "
            f"{twin.result.get('heldout')}."
        )
    numbers = run.numbers
    if numbers.samples_lost != 0 or numbers.samples_repeated != 0:
        return f"{numbers.samples_lost} samples were lost, and {numbers.samples_repeated} repeated."
    return ""


def furthest(twin: Story, run: Story) -> float | None:
    """The largest difference between the losses of a step."""
    theirs = {line.step: line.loss for line in twin.steps}
    apart = [
        abs(line.loss - theirs[line.step])
        for line in run.steps
        if line.loss is not None and theirs.get(line.step) is not None
    ]
    return max(apart, default=None)


def _config(config: ConfigDict, round: Round, faults: str) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    changed.seed, changed.faults = round.seed, faults
    return changed


def _end_of(ended: fence.Ended, folder: Path) -> str:
    how = f"exit code {ended.code}" if ended.code is not None else "no end"
    words = fence.last_words(folder)
    return f"{how} after {ended.seconds:.0f} s{f', last words: {words}' if words else '.'}"


# -- behind the fence


def _train(config: ConfigDict, folder: Path, programs: Path) -> None:
    _settle(config)
    nodes.train(config, folder, programs=programs)


def _train_twin(
    config: ConfigDict, folder: Path, programs: Path, shapes: Collection[tuple[int, ...]]
) -> None:
    """As `loop.train`, with programs that are kept; also those of other shapes of a mesh."""
    # As in the processes of a run, which load what is compiled here.
    os.environ["XLA_FLAGS"] = f"{member.LIMIT} {os.environ.get('XLA_FLAGS', '')}".strip()
    _settle(config)
    loop.train(config, folder, programs, shapes)


def _settle(config: ConfigDict) -> None:
    num_devices = config.fabric.num_nodes * config.fabric.gpus_per_node
    numerics.settle()
    numerics.fix_threads(num_devices)
    jax.config.update("jax_num_cpu_devices", num_devices)
