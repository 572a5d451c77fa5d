import threading

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parallel.elastic.membership import Membership

NODES, TIMEOUT = 4, 8  # whole seconds, so that the hand-driven clock is exact
PATIENCE = TIMEOUT // 4
nodes = st.sets(st.integers(0, NODES - 1), min_size=1)


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def members_by_hand() -> tuple[Membership, Clock]:
    clock = Clock()
    return Membership(NODES, TIMEOUT, clock=clock), clock


def alive_ref(beats: list[tuple[int, set[int]]]) -> set[int]:
    """Follows every node's silence through the whole history; `beats` are (time, nodes)."""
    silence = {}
    for (before, _), (now, heard) in zip([(0, None), *beats], beats, strict=False):
        silence = {node: seconds + min(now - before, PATIENCE) for node, seconds in silence.items()}
        silence |= dict.fromkeys(heard, 0)
    return {node for node, seconds in silence.items() if seconds <= TIMEOUT}


class Hearts(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.members, self.clock = members_by_hand()
        self.beats = []
        self.seen = self.members.alive()

    @rule(seconds=st.integers(1, 3 * TIMEOUT))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(heard=nodes, times=st.integers(1, 4))
    def hearts_beat(self, heard, times):
        for _ in range(times):
            self.clock.now += 1
            self.members.beat(*heard)
            self.beats.append((self.clock.now, heard))

    @invariant()
    def the_members_are_those_of_the_plain_rule(self):
        assert self.members.alive() == alive_ref(self.beats)

    @invariant()
    def the_epoch_grows_when_the_members_change(self):
        alive = self.members.alive()
        assert alive.epoch >= self.seen.epoch
        assert alive == self.seen or alive.epoch > self.seen.epoch
        self.seen = alive


TestHearts = Hearts.TestCase
TestHearts.settings = settings(max_examples=60, stateful_step_count=20)


def test_nobody_is_alive_before_a_beat():
    assert members_by_hand()[0].alive() == frozenset()


def test_a_node_is_gone_when_others_outlive_it_and_back_with_its_next_beat():
    members, clock = members_by_hand()
    members.beat(0, 1)
    for clock.now in range(1, TIMEOUT + 1):
        members.beat(0)
    assert members.alive() == {0, 1}
    clock.now += 1
    members.beat(0)
    assert members.alive() == {0}
    members.beat(1)
    assert members.alive() == {0, 1}


def test_who_went_and_came_back_unseen_is_told_by_the_epoch():
    members, clock = members_by_hand()
    members.beat(0, 1)
    known = members.alive()
    for clock.now in range(1, TIMEOUT + 2):
        members.beat(0)
    members.beat(1)
    now = members.wait_until_changed(known, limit_s=0)
    assert now == known
    assert now.epoch == known.epoch + 2


@pytest.mark.parametrize("stall", [TIMEOUT + 1, 1000 * TIMEOUT])
def test_hearts_that_are_heard_one_by_one_after_a_stall_are_all_alive(stall):
    members, clock = members_by_hand()
    members.beat(*range(NODES))
    known = members.alive()
    clock.now += stall
    for node in range(NODES):
        members.beat(node)
        assert members.alive().epoch == known.epoch


def test_waiting_ends_with_the_beat_that_changes_the_members():
    members, clock = members_by_hand()
    members.beat(0, 1)

    def outlive():
        for clock.now in range(1, TIMEOUT + 2):
            members.beat(0)

    later = threading.Timer(0.02, outlive)
    later.start()
    assert members.wait_until_changed(members.alive(), limit_s=10) == {0}
    later.join()


def test_waiting_is_bounded_and_says_what_it_waited_for():
    members, _ = members_by_hand()
    members.beat(0, 1)
    with pytest.raises(
        TimeoutError, match=r"in 0.01 s no node went or came: alive are still \[0, 1\]"
    ):
        members.wait_until_changed(members.alive(), limit_s=0.01)


def test_a_stranger_is_refused():
    with pytest.raises(ValueError, match="beat of node 4, but the nodes are 0 to 3"):
        members_by_hand()[0].beat(4)
