"""Nodes as processes: worlds that are joined and left, state that goes from process to process."""

from parallel.elastic.processes.member import Ended, Member, launch
from parallel.elastic.processes.supervisor import Supervisor
from parallel.elastic.processes.terms import Limits, Observer, RunFailed

__all__ = ["Ended", "Limits", "Member", "Observer", "RunFailed", "Supervisor", "launch"]
