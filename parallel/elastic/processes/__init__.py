"""Nodes as processes: worlds that are joined and left, state that goes from process to process."""

from parallel.elastic.processes.member import Ended, Meeting, Member, launch, take_part
from parallel.elastic.processes.supervisor import Supervisor
from parallel.elastic.processes.terms import Limits, Observer, RunFailed

__all__ = [
    "Ended",
    "Limits",
    "Meeting",
    "Member",
    "Observer",
    "RunFailed",
    "Supervisor",
    "launch",
    "take_part",
]
