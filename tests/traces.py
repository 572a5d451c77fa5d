"""A short trace of faults, in the form in which clusters publish theirs."""

GPU = {"Level": "Hardware Failure", "Class": "GPU", "Desc": "GPU Lost"}
FAN = {"Level": "Hardware Failure", "Class": "Fan", "Desc": "Speed Critical (Sensor)"}


def event(node: str, day: float, kind: str, fault: dict = GPU) -> dict:
    return {"node_id": node, "event_time": day, "event_type": f"fault_{kind}", "fault_type": fault}


SHORT = [  # overlapping, zero-length, nested and open faults
    event("a", 1.0, "start"),
    event("b", 1.5, "start"),
    event("a", 2.0, "start", FAN),
    event("a", 3.0, "end"),
    event("b", 3.0, "end"),
    event("b", 3.0, "start", FAN),
    event("b", 3.0, "end", FAN),
    event("a", 4.0, "end", FAN),
    event("c", 5.0, "start"),
    event("c", 5.0, "end"),
    event("a", 6.0, "start"),
    event("d", 7.0, "start"),
    event("a", 8.5, "end"),
]
