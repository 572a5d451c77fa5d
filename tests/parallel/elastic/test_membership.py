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


def membership_by_hand() -> tuple[Membership, Clock]:
    clock = Clock()
    return Membership(NODES, TIMEOUT, clock=clock), clock


def alive_ref(beats: list[tuple[int, set[int]]]) -> set[int]:
    """Follows every node's silence through the whole history; `beats` are (time, nodes)."""
    silence = {}
    for (before, _), (now, heard) in zip([(0, None), *beats], beats, strict=False):
        silence = {node: seconds + min(now - before, PATIENCE) for node, seconds in silence.items()}
        silence |= dict.fromkeys(heard, 0)
    return {node for node, seconds in silence.items() if seconds <= TIMEOUT}


class Heartbeats(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.membership, self.clock = membership_by_hand()
        self.beats = []
        self.seen = self.membership.members()

    @rule(seconds=st.integers(1, 3 * TIMEOUT))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(heard=nodes, times=st.integers(1, 4))
    def nodes_beat(self, heard, times):
        for _ in range(times):
            self.clock.now += 1
            self.membership.beat(*heard)
            self.beats.append((self.clock.now, heard))

    @invariant()
    def the_members_are_those_of_the_plain_rule(self):
        assert self.membership.members().nodes == alive_ref(self.beats)

    @invariant()
    def the_epoch_grows_when_the_members_change(self):
        now = self.membership.members()
        assert now.epoch >= self.seen.epoch
        assert now.nodes == self.seen.nodes or now.epoch > self.seen.epoch
        self.seen = now


TestHeartbeats = Heartbeats.TestCase
TestHeartbeats.settings = settings(max_examples=60, stateful_step_count=20)


def test_nobody_is_alive_before_a_beat():
    assert membership_by_hand()[0].members().nodes == frozenset()


def test_a_node_is_lost_when_others_outlive_it_and_back_with_its_next_beat():
    membership, clock = membership_by_hand()
    membership.beat(0, 1)
    for clock.now in range(1, TIMEOUT + 1):
        membership.beat(0)
    assert membership.members().nodes == {0, 1}
    clock.now += 1
    membership.beat(0)
    assert membership.members().nodes == {0}
    membership.beat(1)
    assert membership.members().nodes == {0, 1}


def test_who_was_lost_and_came_back_unseen_is_told_by_the_epoch():
    membership, clock = membership_by_hand()
    membership.beat(0, 1)
    known = membership.members()
    for clock.now in range(1, TIMEOUT + 2):
        membership.beat(0)
    membership.beat(1)
    now = membership.wait_until_changed(known, limit_s=0)
    assert now.nodes == known.nodes and now != known
    assert now.epoch == known.epoch + 2
    assert now.lost_since(known) == now.back_since(known) == {1}


@pytest.mark.parametrize("stall", [TIMEOUT + 1, 1000 * TIMEOUT])
def test_nodes_that_are_heard_one_by_one_after_a_stall_are_all_alive(stall):
    membership, clock = membership_by_hand()
    membership.beat(*range(NODES))
    known = membership.members()
    clock.now += stall
    for node in range(NODES):
        membership.beat(node)
        assert membership.members().epoch == known.epoch


def test_waiting_ends_with_the_beat_that_changes_the_members():
    membership, clock = membership_by_hand()
    membership.beat(0, 1)

    def outlive():
        for clock.now in range(1, TIMEOUT + 2):
            membership.beat(0)

    later = threading.Timer(0.02, outlive)
    later.start()
    assert membership.wait_until_changed(membership.members(), limit_s=10).nodes == {0}
    later.join()


def test_waiting_is_bounded_and_says_what_it_waited_for():
    membership, _ = membership_by_hand()
    membership.beat(0, 1)
    with pytest.raises(TimeoutError, match=r"within 0.01 s: nodes \[0, 1\] are still alive"):
        membership.wait_until_changed(membership.members(), limit_s=0.01)


def test_a_stranger_is_refused():
    with pytest.raises(ValueError, match="heartbeat came from node 4, but the nodes are 0 to 3"):
        membership_by_hand()[0].beat(4)
