import threading

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parallel.elastic.membership import Membership

NODES, TIMEOUT = 4, 3
nodes = st.sets(st.integers(0, NODES - 1), min_size=1)


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def alive_ref(beats: list[tuple[int, int]]) -> set[int]:
    """Every node with a beat in the last TIMEOUT before the newest beat; `beats` are (time, node)."""
    newest = max((time for time, _ in beats), default=0)
    return {node for time, node in beats if time >= newest - TIMEOUT}


class Hearts(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock, self.beats = Clock(), []
        self.members = Membership(NODES, TIMEOUT, clock=self.clock)

    @rule(seconds=st.integers(1, 2 * TIMEOUT))
    def time_passes(self, seconds):
        before = self.members.alive()
        self.clock.now += seconds
        assert self.members.alive() == before  # silence alone kills nobody

    @rule(some=nodes)
    def hearts_beat(self, some):
        self.members.beat(*some)
        self.beats += [(self.clock.now, node) for node in some]
        assert some <= self.members.alive()

    @invariant()
    def the_members_are_those_of_the_plain_rule(self):
        assert self.members.alive() == alive_ref(self.beats)


TestHearts = Hearts.TestCase
TestHearts.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_nobody_is_alive_before_a_beat():
    assert Membership(NODES, TIMEOUT).alive() == frozenset()


def test_a_node_is_gone_when_others_outlive_it_and_back_with_its_next_beat():
    clock = Clock()
    members = Membership(2, TIMEOUT, clock=clock)
    members.beat(0, 1)
    clock.now = TIMEOUT
    members.beat(0)
    assert members.alive() == {0, 1}
    clock.now = TIMEOUT + 1
    members.beat(0)
    assert members.alive() == {0}
    members.beat(1)
    assert members.alive() == {0, 1}


def test_a_stalled_machine_takes_nobody_for_dead():
    clock = Clock()
    members = Membership(NODES, TIMEOUT, clock=clock)
    members.beat(*range(NODES))
    clock.now = 1000 * TIMEOUT
    assert members.alive() == frozenset(range(NODES))
    members.beat(*range(NODES))
    assert members.alive() == frozenset(range(NODES))


def test_waiting_ends_with_the_beat_that_changes_the_members():
    clock = Clock()
    members = Membership(2, TIMEOUT, clock=clock)
    members.beat(0, 1)

    def outlive():
        clock.now = TIMEOUT + 1
        members.beat(0)

    later = threading.Timer(0.02, outlive)
    later.start()
    assert members.wait_until_changed(frozenset({0, 1}), limit_s=10) == {0}
    later.join()


def test_waiting_returns_at_once_when_the_members_are_others_already():
    members = Membership(2, TIMEOUT)
    members.beat(1)
    assert members.wait_until_changed(frozenset({0, 1}), limit_s=0) == {1}


def test_waiting_is_bounded_and_says_what_it_waited_for():
    members = Membership(2, TIMEOUT)
    members.beat(0, 1)
    with pytest.raises(TimeoutError, match=r"in 0.01 s no node went or came: alive are still \[0, 1\]"):
        members.wait_until_changed(frozenset({0, 1}), limit_s=0.01)


def test_a_stranger_is_refused():
    with pytest.raises(ValueError, match="beat of node 4, but the nodes are 0 to 3"):
        Membership(NODES, TIMEOUT).beat(4)
