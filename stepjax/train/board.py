"""Scalars of a run for TensorBoard."""

import os
import time
from collections.abc import Mapping

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

BOARD_SECONDS = 10  # how long a scalar may wait until TensorBoard can see it


class Board:
    """Scalars for TensorBoard, through the `tensorboard` package alone.

    A run that goes on from `first_step` hides what an earlier one wrote of that step and later
    ones.
    """

    def __init__(self, folder: str | os.PathLike, first_step: int = 0):
        self._writer = EventFileWriter(str(folder), flush_secs=BOARD_SECONDS)
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=first_step, session_log=start))

    def write(self, step: int, scalars: Mapping[str, float | None]) -> None:
        """Adds the scalars of one step; None says that there is none."""
        values = [
            Summary.Value(tag=tag, simple_value=x) for tag, x in scalars.items() if x is not None
        ]
        self._writer.add_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        )

    def close(self) -> None:
        self._writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
