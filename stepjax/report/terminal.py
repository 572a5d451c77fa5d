"""What a person at the terminal sees: one live line, and above it a line for each event.

    lost node 3 at step 14: rings 0-1 | 2-4 | 5-6, 12 of 16 devices, back in 0.62 s
    step 15/60 ━━━━━━╺━━━━━━━━━━━━━━━━━ loss 4.213  8,412 tokens/s  12/16 devices  gen 1  0:48 left

It is fed with the records of metrics.jsonl and events.jsonl, and keeps nothing else. Where no
terminal listens, it prints a line about every tenth of the run instead.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from parallel.show import words

Record = Mapping[str, Any]
REFRESH = 4  # drawings a second
PLAIN_LINES = 10  # over a whole run


class Progress:
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
        self._generations: dict[int, Record] = {}  # of this process, by number
        self._tenth = 0
        bar = BarColumn(max(10, min(24, self._console.width - 80)))
        columns = (
            TextColumn("step {task.completed}/{task.total}"),
            bar,
            TextColumn("{task.description}"),
        )
        self._bars = Bars(*columns, console=self._console, refresh_per_second=REFRESH)
        self._task = self._bars.add_task("", total=steps)

    def __enter__(self):
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_):
        if self._console.is_terminal:
            self._bars.stop()

    def step(self, record: Record) -> None:
        """Takes a line of metrics.jsonl."""
        done = record["step"] + 1
        parts = [
            f"loss {words.number(record['loss'])}",
            f"{words.number(record['tokens_per_second'])} tokens/s",
            f"{record['devices']}/{self.num_devices} devices",
            f"gen {record['generation']}",
            f"{words.clock(self._seconds_left(record['step']))} left",
        ]
        self._bars.update(self._task, completed=done, description="  ".join(parts))
        if not self._console.is_terminal and (
            done == self.steps or PLAIN_LINES * done // self.steps != self._tenth
        ):
            self._print(f"step {done}/{self.steps}: {', '.join(parts)}")
        self._tenth = PLAIN_LINES * done // self.steps

    def event(self, record: Record) -> None:
        """Takes a line of events.jsonl; prints what a person should know."""
        line = ""
        match record["event"]:
            case "start":
                self._generations, self._first = {}, None
                line = start_line(record)
            case "generation":
                line = (
                    "" if self._generations else self._wiring(record)
                )  # a recovery tells of later ones
                self._generations[record["generation"]] = record
            case "recovery":
                self._first = None  # the pace is another now
                wiring = self._wiring(self._generations[record["generation"]])
                line = (
                    f"{recovery_line(record)}: {wiring}, back in {words.seconds(record['seconds'])}"
                )
            case "checkpoint":
                line = f"saved step {record['step']} in {words.seconds(record['seconds'])}"
            case "damaged":
                line = damaged_line(record)
            case "evaluation":
                line = evaluation_line(record)
            case "stop":
                line = f"stopped at step {record['step']}: {record['reason']}"
            case "end":
                line = f"done: {words.counted(record['step'], 'step')}"
        if line:
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(words.clip(line), markup=False, highlight=False, soft_wrap=True)

    def _wiring(self, generation: Record) -> str:
        return f"{words.rings(generation['groups'])}, {generation['devices']} of {self.num_devices} devices"

    def _seconds_left(self, step: int) -> float | None:
        """None at the first step, which says nothing yet about the pace."""
        if self._first is None:
            self._first = step, self._clock()
        first_step, since = self._first
        done = step - first_step
        return (self._clock() - since) / done * (self.steps - 1 - step) if done > 0 else None


def start_line(record: Record) -> str:
    nodes = words.counted(record["num_nodes"], "node")
    fabric = f"{nodes} of {record['gpus_per_node']} on a {record['hops']}-hop {record['fabric']}"
    layout = f"tensor {record['tensor']}, fsdp {record['fsdp']}"
    goes_on = f", goes on at step {record['step']}" if record["resumed"] else ""
    return f"{fabric}, {layout}{goes_on}; {'plan: ' + record['plan'] if record['plan'] else 'no faults planned'}"


def recovery_line(record: Record) -> str:
    again = (
        f" ({words.counted(record['steps_lost'], 'step')} to do again)"
        if record["steps_lost"]
        else ""
    )
    return f"{words.change(record['gone'], record['back'])} at step {record['step']}{again}"


def damaged_line(record: Record) -> str:
    return (
        f"checkpoint {record['step']} is damaged, {record['restored']} is used: {record['reason']}"
    )


def evaluation_line(record: Record) -> str:
    rates = f"WER {words.share(record['wer'])}, CER {words.share(record['cer'])}"
    return f"held out at step {record['step']}: loss {words.number(record['loss'])}, {rates}"
