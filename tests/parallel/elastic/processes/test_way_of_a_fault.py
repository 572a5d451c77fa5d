"""The whole way of a fault, from the signal that kills a process to the step done without it.

rings of two nodes:  0-1  2-3   4 is a spare
step 3 computes:     node 1 is killed
                     0, 2 and 3 are blocked in a sum that will never end, and are freed
                     rings are formed of those that are left, and the state is laid out
step 3 again:        the same sum as without the fault
later:               node 1 has been started again, and is taken in
"""

import counting

from parallel.elastic.processes import rendezvous

PHASES = ("notice", "unload", "agree", "join", "programs", "state", "step")


class Diary(counting.Notes):
    """Notes what happens in order, and which process each node is at the time."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.pages = folder, []

    def fault(self, fault):
        self.pages.append((str(fault), self.processes()))

    def lost(self, node, why):
        super().lost(node, why)
        self.pages.append((f"node {node}: {why}", self.processes()))

    def note(self, what):
        told = what in self.recoveries
        super().note(what)
        if what in self.recoveries and not told:
            step, lost, back, source, steps_lost = what
            page = f"step {step}: lost {lost}, back {back}, from a {source}, {steps_lost} steps"
            self.pages.append((page, self.processes()))

    def processes(self):
        run = rendezvous.read(self.folder / rendezvous.NAME)
        return {node: pid for node, (pid, _) in run.processes.items()}


def test_the_whole_way_of_a_fault(tmp_path):
    diary = Diary(tmp_path)
    plan = "lose 1 during 3; back 1 before 6"
    counting.on_processes(plan, tmp_path, notes=diary)

    # What happened, in order.
    pages = [page for page, _ in diary.pages]
    assert pages == [
        "lose 1 during 3",
        "node 1: its process was ended by SIGKILL",
        "step 3: lost [1], back [], from a replica, 0 steps",
        "back 1 before 6",
        "step 6: lost [], back [1], from a replica, 0 steps",
    ]

    # Nobody but the node that was killed is another process afterwards.
    before, *_, after = [processes for _, processes in diary.pages]
    assert {node for node in before if before[node] != after[node]} == {1}

    # Each recovery went through all phases, and compiled nothing.
    assert {step for step, _, _ in diary.ways} == {3, 6}
    for _, phases, compiled in diary.ways:
        assert set(phases) == set(PHASES) and compiled == 0

    # Every sum is that of a run to which nothing happens; every step counted once.
    assert diary.sums == counting.expected()

    # Nothing is left.
    assert not (tmp_path / rendezvous.NAME).exists()
