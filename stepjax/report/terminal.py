"""What a person at the terminal sees: one live line, and above it a line for each event.

    lost node 3 at step 14: rings 0-1 | 2-4 | 5-6, 12 of 16 devices, back in 0.62 s
    step 15/60 ━━━━━━╺━━━━━━━━━━━━━━━━━ loss 4.213  8,412 tokens/s  12/16 devices  gen 1  0:48 left

It is given the steps and events of a run as they are logged, and keeps nothing else. Where the
output is no terminal, it prints a line about every tenth of the run instead.
"""

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from parallel.show import words
from stepjax.train.events import (
    Checkpoint,
    Damaged,
    End,
    Evaluation,
    Event,
    Generation,
    Recovery,
    Skipped,
    Slow,
    Start,
    StepLine,
    Stop,
)

REFRESH = 4  # drawings a second
PLAIN_LINES = 10  # over a whole run


class Terminal:
    """Shows a run of `steps` steps on a cluster of `num_devices`. Use it in a `with` statement."""

    def __init__(
        self,
        steps: int,
        num_devices: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.steps, self.num_devices = steps, num_devices
        self._console = console or Console(highlight=False)
        self._clock = clock
        self._first: tuple[int, float] | None = None  # step and time from which the pace is taken
        self._generations: dict[int, Generation] = {}  # of this process, by number
        self._tenth = 0
        self._bars = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(max(10, min(24, self._console.width - 80))),
            TextColumn("{task.description}"),
            console=self._console,
            refresh_per_second=REFRESH,
        )
        self._task = self._bars.add_task("", total=steps)

    def __enter__(self):
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_):
        if self._console.is_terminal:
            self._bars.stop()

    def step(self, line: StepLine) -> None:
        done = line.step + 1
        parts = [
            f"loss {words.number(line.loss)}",
            f"{words.number(line.tokens_per_second)} tokens/s",
            f"{line.devices}/{self.num_devices} devices",
            f"gen {line.generation}",
            f"{words.clock(self._seconds_left(line.step))} left",
        ]
        self._bars.update(self._task, completed=done, description="  ".join(parts))
        tenth = PLAIN_LINES * done // self.steps
        if not self._console.is_terminal and (done == self.steps or tenth != self._tenth):
            self._print(f"step {done}/{self.steps}: {', '.join(parts)}")
        self._tenth = tenth

    def event(self, event: Event) -> None:
        """Prints what a person should know of it; an event that has no words is passed over."""
        line = ""
        match event:
            case Start():
                self._generations, self._first = {}, None
                line = start_line(event)
            case Generation():
                if not self._generations:  # later ones belong to a recovery, which tells of them
                    line = self._wiring(event)
                self._generations[event.generation] = event
            case Recovery():
                self._first = None  # the pace is another now
                wiring = self._wiring(self._generations[event.generation])
                line = f"{recovery_line(event)}: {wiring}, back in {words.seconds(event.seconds)}"
                line += f" ({event.cause})" if event.cause else ""
            case Skipped():
                line = f"skipped step {event.step}: its loss or gradient is not finite"
            case Checkpoint():
                line = f"saved step {event.step} in {words.seconds(event.seconds)}"
            case Slow():
                times = words.number(event.times)
                line = f"node {event.node} is slow: it takes {times} times as long as the others"
            case Damaged():
                line = damaged_line(event)
            case Evaluation():
                line = evaluation_line(event)
            case Stop():
                line = f"stopped at step {event.step}: {event.reason}"
            case End():
                line = f"done: {words.counted(event.step, 'step')}"
        if line:
            self._print(line)

    def account(self, goodput: Mapping[str, float]) -> None:
        """Prints where the time went (see `stepjax.train.goodput`), what took most of it first."""
        self._print(account_line(goodput))

    def _print(self, line: str) -> None:
        self._console.print(words.clip(line), markup=False, highlight=False, soft_wrap=True)

    def _wiring(self, generation: Generation) -> str:
        devices = f"{generation.devices} of {self.num_devices} devices"
        return f"{words.rings(generation.groups)}, {devices}"

    def _seconds_left(self, step: int) -> float | None:
        """None at the first step, which says nothing yet about the pace."""
        if self._first is None:
            self._first = step, self._clock()
        first_step, since = self._first
        done = step - first_step
        return (self._clock() - since) / done * (self.steps - 1 - step) if done > 0 else None


def start_line(start: Start) -> str:
    nodes = words.counted(start.num_nodes, "node")
    fabric = f"{nodes} of {start.gpus_per_node} on a {start.hops}-hop {start.fabric}"
    layout = f"tensor {start.tensor}, fsdp {start.fsdp}"
    goes_on = f", goes on at step {start.step}" if start.resumed else ""
    plan = f"plan: {start.plan}" if start.plan else "no faults planned"
    return f"{fabric}, {layout}{goes_on}; {plan}"


def account_line(goodput: Mapping[str, float]) -> str:
    """
    >>> account_line({"waiting": 5.1, "stepping": 90.0, "saving": 0.1, "share": 0.95})
    '1:35: stepping 95 %, waiting 5 %'
    """
    parts = sorted(((s, part) for part, s in goodput.items() if part != "share"), reverse=True)
    total = sum(s for s, _ in parts)
    said = [f"{part} {100 * s / total:.0f} %" for s, part in parts if s / total > 0.005]
    return f"{words.clock(total)}: {', '.join(said)}"


def recovery_line(recovery: Recovery) -> str:
    again = ""
    if recovery.steps_lost:
        again = f" ({words.counted(recovery.steps_lost, 'step')} to do again)"
    return f"{words.change(recovery.lost, recovery.back)} at step {recovery.step}{again}"


def damaged_line(damaged: Damaged) -> str:
    used = f"{damaged.restored} is used"
    return f"checkpoint {damaged.step} is damaged, {used}: {damaged.reason}"


def evaluation_line(evaluation: Evaluation) -> str:
    rates = f"WER {words.share(evaluation.wer)}, CER {words.share(evaluation.cer)}"
    loss = words.number(evaluation.loss)
    return f"held out at step {evaluation.step}: loss {loss}, {rates}"
