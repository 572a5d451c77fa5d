"""A run on processes ends with the numbers of a run to which nothing happens, whatever dies."""

import multiprocessing
import os
import re
import threading
from pathlib import Path

import counting
import pytest
from threads import left_behind

from parallel.elastic.processes import RunFailed
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


@pytest.mark.parametrize(
    "plan, why",
    [
        ("stop 1 during 3; back 1 before 5", "it was silent for [0-9]+ s"),
        ("crash 1 before 3; back 1 before 5", "its process was ended by SIGSEGV"),
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
    compiled = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        notes = counting.on_processes(
            "lose 1 before 3", tmp_path / name, programs=kept, started=compiled.append
        )
        assert notes.sums == counting.expected()
    assert [supervisor.compilations > 0 for supervisor in compiled] == [True, False]
    assert list(kept.glob("*.program"))


@pytest.mark.slow
def test_a_node_that_crashes_again_and_again_is_benched(tmp_path):
    crashes = "; ".join(f"crash 1 before {n}; back 1 before {n + 1}" for n in (1, 3, 5))
    supervisors = []
    notes = counting.on_processes(
        f"{crashes}; crash 1 before 7", tmp_path, started=supervisors.append
    )
    assert notes.sums == counting.expected()
    assert [node for node, _ in notes.causes] == 4 * [1]
    assert 1 not in supervisors[0]._processes


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


def test_every_process_has_a_log(tmp_path):
    counting.on_processes("", tmp_path)
    names = {path.name for path in Path(tmp_path / LOGS).iterdir()}
    assert names == {"compiler.log", *(f"node-{n}.log" for n in range(counting.NODES))}
