"""A run on processes ends with the numbers of a run to which nothing happens, whatever dies."""

import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import counting
import pytest
from threads import left_behind

from parallel.elastic.processes import RunFailed, rendezvous
from parallel.elastic.processes.member import LOGS, PROGRAMS


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path):
    before, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    assert left_behind(before) == []
    assert multiprocessing.active_children() == []
    assert len(os.listdir("/proc/self/fd")) <= files + 4  # of the server that forks
    assert not (tmp_path / PROGRAMS).exists()


@pytest.mark.parametrize(
    "plan, recoveries",
    [
        ("", []),
        (
            "lose 1 before 2; back 1 before 5",
            [(2, [1], [], "replica", 0), (5, [], [1], "replica", 0)],
        ),
        ("lose 3 during 3", [(3, [3], [], "replica", 0)]),
        ("lose 2 during 3; back 2 before 6", None),  # it is a spare
        ("lose 0 during 3; lose 1 before 3", None),
        ("lose 1 before 2; lose 3 recovering 2; back 1 before 4; back 3 before 6", None),
    ],
)
def test_a_run_through_kills_ends_like_one_without(plan, recoveries, tmp_path):
    notes = counting.on_processes(plan, tmp_path)
    assert notes.sums == counting.expected()
    if recoveries is not None:
        assert notes.recoveries == recoveries


@pytest.mark.parametrize(
    "deed, why",
    [
        ("crash", "its process was ended by SIGSEGV"),
        ("stop", "it was silent for [0-9]+ s"),
        ("sleep", "it kept the others waiting in step 3"),
        ("raise", "its process ended with exit code 1: OSError: the disk of this node is gone"),
    ],
)
def test_a_node_that_fails_unasked_is_named_and_taken_in_again(deed, why, tmp_path):
    notes = counting.on_processes("", tmp_path, [(1, 3, deed)])
    assert notes.sums == counting.expected()
    ((node, cause),) = notes.causes
    assert node == 1 and re.fullmatch(why, cause)
    assert notes.recoveries[0] == (3, [1], [], "replica", 0)


def test_what_one_node_alone_holds_comes_from_its_neighbour(tmp_path):
    deeds = [(1, 3, "pause")]  # longer than the copies take
    notes = counting.on_processes("lose 1 during 3", tmp_path, deeds, counting.Divided())
    assert notes.sums == counting.expected()
    assert notes.recoveries == [(3, [1], [], "neighbour", 0)]


def test_a_node_that_is_lost_before_its_part_is_copied_costs_one_step_at_most(tmp_path):
    plan = "lose 1 before 3; lose 2 before 5; back 1 before 5; back 2 before 7"
    notes = counting.on_processes(plan, tmp_path, job=counting.Divided())
    assert notes.sums == counting.expected()
    assert {source for *_, source, _ in notes.recoveries} <= {"neighbour", "replica"}
    assert max(steps_lost for *_, steps_lost in notes.recoveries) <= 1


def test_a_node_with_a_wrong_bit_in_its_state_is_named_and_stays_away(tmp_path):
    notes = counting.on_processes("", tmp_path, [(1, 3, "flip")])
    assert notes.sums == counting.expected()
    assert notes.causes == [(1, "its state was not that of its replicas in step 3")]
    assert notes.recoveries == [(3, [1], [], "replica", 0)]


def test_a_slow_node_is_named(tmp_path):
    notes = counting.on_processes("", tmp_path, [(3, 1, "drag")])
    assert notes.sums == counting.expected()
    assert notes.causes == [(3, "slow")]


def test_where_two_replicas_differ_the_step_is_done_again(tmp_path):
    notes = counting.on_processes("", tmp_path, [(1, 3, "err")])
    assert notes.sums == counting.expected()
    assert notes.causes == [(None, "differed in step 3")]
    assert notes.recoveries == [(3, [], [], "replica", 0)]


def test_replicas_that_differ_again_go_back_to_the_checkpoint_and_then_give_up(tmp_path):
    with pytest.raises(RunFailed, match="replicas of the state differ in step 3, also when it is"):
        counting.on_processes("", tmp_path, [(1, 3, "err always")])


def killed_and_started_again(folder, killed_before, deeds, deeds_then):
    """What the second supervisor noted, and the nodes of the first one."""
    command = [sys.executable, counting.__file__, str(folder)]
    tests = Path(counting.__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{tests.parent}:{tests}"}
    with subprocess.Popen([*command, json.dumps(deeds)], env=environment) as first:
        until = time.monotonic() + 60
        while not (folder / f"0-{killed_before}-pause").exists() and time.monotonic() < until:
            time.sleep(0.02)
        first.kill()
    nodes = rendezvous.alive(rendezvous.read(folder / rendezvous.NAME))
    assert nodes
    again = subprocess.run(
        [*command, json.dumps(deeds_then)],
        capture_output=True, timeout=120, text=True, check=True, env=environment,
    )  # fmt: skip
    assert all(node.exitcode is not None for node in nodes.values())
    assert not (folder / rendezvous.NAME).exists()
    sums, recoveries, causes = json.loads(again.stdout)
    assert {int(n): total for n, total in sums.items()} == counting.expected()
    return recoveries, causes


PAUSES = [(0, step, "pause") for step in range(-1, counting.STEPS)]


@pytest.mark.parametrize("killed_before", [3, -1])  # a step, or the first mesh
def test_a_supervisor_that_is_killed_takes_up_its_nodes(killed_before, tmp_path):
    recoveries, causes = killed_and_started_again(tmp_path, killed_before, PAUSES, PAUSES)
    if killed_before == 3:
        ((_, taken_up),) = causes
        assert re.fullmatch("taken up before step [2-5]", taken_up)
        assert [recovery[1:] for recovery in recoveries] == [[[], [], "replica", 0]]
    else:
        assert causes == recoveries == []


def test_nodes_that_do_other_work_are_not_taken_up(tmp_path):
    assert killed_and_started_again(tmp_path, 3, PAUSES, []) == ([], [])


@pytest.mark.parametrize(
    "plan, why",
    [
        ("stop 1 during 3; back 1 before 5", "it was silent for [0-9]+ s"),
        ("crash 1 before 3; back 1 before 5", "its process was ended by SIGSEGV"),
        ("corrupt 1 before 3; back 1 before 5", "its state was not that of its replicas in step 3"),
    ],
)
def test_the_verb_of_a_plan_says_how_a_node_fails(plan, why, tmp_path):
    notes = counting.on_processes(plan, tmp_path)
    assert notes.sums == counting.expected()
    assert notes.recoveries == [(3, [1], [], "replica", 0), (5, [], [1], "replica", 0)]
    ((node, cause),) = notes.causes
    assert node == 1 and re.fullmatch(why, cause)


def test_a_spare_gives_what_it_held_to_those_who_take_its_place(tmp_path):
    """Nodes 1 and 4 hold the two halves of the state; the new ring is 4-0, and 1 is left out."""
    plan = "lose 0 before 2; back 0 before 4; lose 2 before 5; lose 3 before 5"
    notes = counting.on_processes(plan, tmp_path)
    assert notes.sums == counting.expected()
    assert notes.recoveries[-1] == (5, [2, 3], [], "replica", 0)
    assert sorted(node for node, _ in notes.causes) == [0, 2, 3]


def test_a_node_that_comes_back_outlives_the_loss_of_another(tmp_path):
    """Node 2 is killed while node 1 has only just come to the mesh."""
    plan = "lose 1 before 2; lose 4 before 2; back 1 before 4; lose 2 recovering 4"
    notes = counting.on_processes(plan, tmp_path)
    assert notes.sums == counting.expected()
    assert sorted(notes.causes) == [
        (node, "its process was ended by SIGKILL") for node in (1, 2, 4)
    ]
    assert all(steps_lost >= 0 for *_, steps_lost in notes.recoveries)


def test_programs_can_be_kept_for_the_next_run(tmp_path):
    kept = tmp_path / "kept"
    times = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        notes = counting.on_processes("lose 1 before 3", tmp_path / name, programs=kept)
        assert notes.sums == counting.expected()
        times.append({path: path.stat().st_mtime_ns for path in kept.glob("*.program")})
    assert times[0] and times[0] == times[1]


@pytest.mark.slow
def test_a_node_that_crashes_again_and_again_is_benched(tmp_path):
    crashes = "; ".join(f"crash 1 before {n}; back 1 before {n + 1}" for n in (1, 3, 5))
    supervisors = []
    notes = counting.on_processes(
        f"{crashes}; crash 1 before 7", tmp_path, started=supervisors.append
    )
    assert notes.sums == counting.expected()
    assert [node for node, _ in notes.causes] == 4 * [1]
    assert 1 not in supervisors[0]._staff.numbers


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_a_run_through_random_misfortunes_ends_like_one_without(seed, tmp_path):
    plan, deeds = counting.misfortunes(seed)
    assert counting.on_processes(plan, tmp_path, deeds).sums == counting.expected()


def test_where_no_live_node_holds_the_state_the_run_begins_again(tmp_path):
    deeds = [(node, 3, "crash") for node in range(counting.NODES)]
    assert counting.on_processes("", tmp_path, deeds).sums == counting.expected()


def test_without_a_ring_the_run_ends_in_a_sentence(tmp_path):
    plan = "; ".join(f"lose {node} before 2" for node in (0, 1, 3, 4))
    with pytest.raises(RunFailed, match=r"no ring can be formed of the nodes that are left, \[2\]"):
        counting.on_processes(plan, tmp_path)


def test_what_no_node_can_begin_ends_with_the_last_word_of_one(tmp_path):
    deeds = [(node, -1, "raise") for node in range(counting.NODES)]
    with pytest.raises(RunFailed, match="node [0-4] cannot .*OSError: the disk of this node is"):
        counting.on_processes("", tmp_path, deeds)


def test_a_run_that_is_stopped_ends_after_the_step_at_hand(tmp_path):
    def started(supervisor):
        threading.Timer(0.1, lambda: supervisor.stop("enough")).start()

    with pytest.raises(RunFailed, match="enough"):
        counting.on_processes("", tmp_path, started=started)


def test_a_process_that_died_of_compiling_is_replaced(tmp_path):
    job = counting.Fragile(tmp_path, deaths=2)
    notes = counting.on_processes("", tmp_path, job=job)
    assert notes.sums == counting.expected() and not notes.causes


def test_what_cannot_be_compiled_ends_the_run(tmp_path):
    with pytest.raises(RunFailed, match="compiling process fails again and again: .* SIGKILL"):
        counting.on_processes("", tmp_path, job=counting.Fragile(tmp_path, deaths=99))


def test_every_process_has_a_log(tmp_path):
    counting.on_processes("", tmp_path)
    names = {path.name for path in Path(tmp_path / LOGS).iterdir()}
    assert names == {"compiler.log", *(f"node-{n}.log" for n in range(counting.NODES))}
