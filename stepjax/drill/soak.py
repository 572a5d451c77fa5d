"""A real fault trace as the fault plan of one long run: days become steps.

The nodes of the run stand for those of the trace that fail most often, in that order. An outage
begins during the step of its first day (before it, if the node is a spare then), and the node is
back before that of its last day, or a step later if that is the same. What would leave no ring is
left out, and counted.
"""

import numpy as np

from parallel.fabric.faults import Fault, FaultPlan
from parallel.fabric.trace import Trace
from stepjax.drill.matrix import Ground


def compressed(trace: Trace, ground: Ground) -> tuple[FaultPlan, tuple[str, ...]]:
    """The plan, and sentences on how it was made."""
    num_nodes, steps = ground.topology.num_nodes, ground.steps
    often = np.bincount(trace.node, minlength=trace.num_nodes)
    chosen = np.argsort(-often, kind="stable")[:num_nodes]
    plan, played, total = FaultPlan(), 0, 0
    outages = [
        (int(start * steps / trace.days), int(np.ceil(end * steps / trace.days)), place)
        for place, node in enumerate(chosen)
        for start, end in zip(
            trace.start[trace.node == node], trace.end[trace.node == node], strict=True
        )
    ]
    for first, last, node in sorted(outages):
        if first >= steps:
            continue
        total += 1
        for moment in ("during", "before"):
            longer = _with(plan, Fault("lose", node, first, moment), max(last, first + 1), steps)
            if longer is not None and ground.shapes(longer) is not None:
                plan, played = longer, played + 1
                break
    notes = (
        f"{num_nodes} nodes stand for those of the trace that fail most often; a step stands for "
        f"{trace.days / steps:.3g} days.",
        f"{played} of their {total} outages are played; the others would leave no ring, or cannot "
        "be told from the one before.",
    )
    return plan, notes


def _with(plan: FaultPlan, loss: Fault, last: int, steps: int) -> FaultPlan | None:
    """The plan with one more outage; None if the node is away then already."""
    if any(loss.node in plan.away(step) for step in range(loss.step, last)):
        return None
    longer = FaultPlan((*plan.faults, loss))
    return longer.back(loss.node, last) if last < steps else longer
