"""The terminal says what happened, in lines that fit."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from stepjax.report.terminal import Terminal
from stepjax.train.events import (
    Checkpoint,
    Compiled,
    Damaged,
    End,
    Evaluation,
    Event,
    Generation,
    Held,
    Injected,
    Recovery,
    Skipped,
    Slow,
    Start,
    StepLine,
    Stop,
    Undone,
)

START = Start(
    step=0,
    num_nodes=8,
    gpus_per_node=2,
    hops=2,
    fabric="ring",
    tensor=4,
    fsdp=1,
    plan="lose 3 before 14; back 3 before 33",
    resumed=False,
    steps_lost=0,
)
PHASES = ("notice", "placement", "circuits", "mesh", "programs", "state", "step")
ALL, WITHOUT_3 = ((0, 1), (2, 3), (4, 5), (6, 7)), ((0, 1), (2, 4), (5, 6))


def generation(groups, number=0, step=0) -> Generation:
    nodes = tuple(sorted(sum(groups, ())))
    mesh = {"data": len(groups), "fsdp": 1, "tensor": 4}
    return Generation(step, number, nodes, (), groups, mesh, 2 * len(nodes), 4, 8e-5)


def recovery(step, number, lost=(), back=(), seconds=0.617, steps_lost=0) -> Recovery:
    phases = dict.fromkeys(PHASES, 0.1)
    return Recovery(step, number, lost, back, phases, seconds, "replica", steps_lost)


def metric(step, devices=16, number=0) -> StepLine:
    loss = 6.0 - step / 20
    return StepLine(
        step,
        loss=loss,
        loss_text=loss,
        loss_audio=None,
        grad_norm=1.0,
        tokens=4100,
        seconds=0.5,
        tokens_per_second=8412.3,
        devices=devices,
        generation=number,
        learning_rate=1e-3,
        sample_ids_hash="",
    )


RUN = [
    START,
    generation(ALL),
    *map(metric, range(14)),
    Injected(14, "lose 3 before 14"),
    generation(WITHOUT_3, 1, 14),
    recovery(14, 1, lost=(3,)),
    *(metric(step, 12, 1) for step in range(14, 20)),
    Checkpoint(20, seconds=0.31),
    Evaluation(20, wer=0.451, cer=0.2034, loss=3.4123),
    *(metric(step, 12, 1) for step in range(20, 33)),
    generation(ALL, 2, 33),
    recovery(33, 2, back=(3,), seconds=0.044),
    *(metric(step, 16, 2) for step in range(33, 60)),
    End(60),
]


def shown(records, steps=60, num_devices=16, **console) -> list[str]:
    out, seconds = io.StringIO(), iter(range(1000))
    console = Console(file=out, **console)
    with Terminal(steps, num_devices, console, clock=lambda: next(seconds)) as terminal:
        for record in records:
            if isinstance(record, Event):
                terminal.event(record)
            else:
                terminal.step(record)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n").splitlines()


def test_without_a_terminal_it_prints_the_events_and_every_tenth():
    lines = shown(RUN)
    assert [line for line in lines if not line.startswith("step")] == [
        "8 nodes of 2 on a 2-hop ring, tensor 4, fsdp 1; plan: lose 3 before 14; back 3 before 33",
        "rings 0-1 | 2-3 | 4-5 | 6-7, 16 of 16 devices",
        "lost node 3 at step 14: rings 0-1 | 2-4 | 5-6, 12 of 16 devices, back in 0.62 s",
        "saved step 20 in 0.31 s",
        "held out at step 20: loss 3.412, WER 45.1 %, CER 20.3 %",
        "node 3 came back at step 33: rings 0-1 | 2-3 | 4-5 | 6-7, 16 of 16 devices, back in 44 ms",
        "done: 60 steps",
    ]
    steps = [line for line in lines if line.startswith("step")]
    assert [line.split("/")[0] for line in steps] == [f"step {6 * i}" for i in range(1, 11)]
    assert steps[3].startswith("step 24/60: loss 4.85, 8,412 tokens/s, 12/16 devices, gen 1, ")


def test_it_says_where_the_time_went_and_leaves_out_what_took_none():
    out = io.StringIO()
    with Terminal(60, 16, Console(file=out)) as terminal:
        spent = {"stepping": 90.0, "repeating": 0.0, "waiting": 9.0, "saving": 0.2}
        terminal.account(spent | {"compiling": 20.8, "share": 0.75})
    assert out.getvalue() == "2:00: stepping 75 %, compiling 17 %, waiting 8 %\n"


def test_on_a_terminal_the_bar_and_the_events_are_shown():
    text = "\n".join(shown(RUN, force_terminal=True, width=120))
    assert "lost node 3 at step 14: rings 0-1 | 2-4 | 5-6, 12 of 16 devices, back in 0.62 s" in text
    assert re.search(
        r"step 60/60 .* loss 3.05  8,412 tokens/s  16/16 devices  gen 2  0:00 left", text
    )


@pytest.mark.parametrize("width", [None, 80, 120, 200])
def test_no_line_is_longer_than_120(width):
    groups = tuple(tuple(range(12 * i, 12 * i + 12, 3)) for i in range(100))
    plan = "; ".join(f"lose {node} before {node}" for node in range(99))
    lost, back = tuple(range(0, 99, 7)), tuple(range(3, 200, 11))
    records = [
        replace(START, num_nodes=1200, gpus_per_node=72, plan=plan),
        generation(groups),
        metric(0, 86400),
        recovery(12345, 0, lost, back, seconds=90.0, steps_lost=12345),
        Stop(12345, reason="no ring can be formed: " + 20 * "they say, "),
    ]
    terminal = {"force_terminal": True, "width": width} if width else {}
    lines = shown(records, steps=10**6, num_devices=86400, **terminal)
    assert any(line.startswith("lost 15 nodes, 18 nodes came back at step 12345") for line in lines)
    assert max(map(len, lines)) <= 120


def test_the_time_left_follows_the_pace():
    lines = shown(
        [START, *map(metric, range(3))], steps=10
    )  # the clock ticks a second each time it is read
    assert [line.split(", ")[-1] for line in lines[1:]] == ["-:-- left", "0:08 left", "0:07 left"]


def test_it_says_that_a_run_goes_on_where_it_stopped_and_what_is_lost():
    records = [
        replace(START, resumed=True, step=30, plan=""),
        generation(((0, 1),)),
        generation(((0, 1, 2, 3),), 1),
        recovery(31, 1, lost=(6,), back=(3,), steps_lost=1),
        Stop(31, reason="interrupted"),
    ]
    lines = shown(records)
    assert lines == [
        "8 nodes of 2 on a 2-hop ring, tensor 4, fsdp 1, goes on at step 30; no faults planned",
        "ring 0-1, 4 of 16 devices",
        "lost node 6, node 3 came back at step 31 (1 step to do again): ring 0..3, 8 of 16 "
        "devices, back in 0.62 s",
        "stopped at step 31: interrupted",
    ]


def test_a_fault_in_the_middle_of_a_recovery_is_told_after_it():
    records = [
        START,
        generation(ALL),
        generation(WITHOUT_3, 1),
        generation(((0, 1), (4, 5)), 2),
        recovery(9, 1, lost=(3,)),
        recovery(9, 2, lost=(2,)),
    ]
    lines = shown(records)
    assert lines[2:] == [
        "lost node 3 at step 9: rings 0-1 | 2-4 | 5-6, 12 of 16 devices, back in 0.62 s",
        "lost node 2 at step 9: rings 0-1 | 4-5, 8 of 16 devices, back in 0.62 s",
    ]


def test_a_loss_that_is_no_number_is_shown_as_a_dash():
    line = replace(metric(0), loss=None, tokens_per_second=None)
    assert shown([START, line], steps=1)[1].startswith("step 1/1: loss -, - tokens/s, 16/16 dev")


@pytest.mark.parametrize("kind", Event.kinds.values())
def test_every_event_has_words_or_none_on_purpose(kind):
    """A new kind of event needs a line in this test's table, and so a thought about its words."""
    silent = (Injected, Generation, Recovery)  # a recovery tells what the other two began
    silent += (Compiled, Held, Undone)  # the account at the end tells their sums
    rare = Damaged(20, "a file is missing", restored=10), Stop(3, "interrupted"), Skipped(4)
    rare += (Slow(4, node=3, times=4.5),)
    examples = {type(record): record for record in (*RUN, *rare)}
    if kind not in silent:
        assert len(shown([examples[kind]])) == 1
