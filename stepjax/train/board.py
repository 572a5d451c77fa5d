"""Scalars of a run for TensorBoard."""

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from stepjax.disk.files import writing

_numbers = itertools.count()


class Board:
    """Scalars for TensorBoard, through the `tensorboard` package alone.

    A run that goes on from `first_step` hides what an earlier one wrote of that step and later
    ones. Everything is written at once and in this thread, so that a full disk is an error here:
    `tensorboard`'s own writer has a thread, which dies of it.
    Raises: Unwritable.
    """

    def __init__(self, folder: str | os.PathLike, first_step: int = 0):
        name = f"{time.time_ns():019}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path = Path(folder) / f"events.out.tfevents.{name}"
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        self._records = RecordWriter(self._file)
        self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=time.time(), step=first_step, session_log=start))

    def write(self, step: int, scalars: Mapping[str, float | None]) -> None:
        """Adds the scalars of one step; None says that there is none."""
        values = [
            Summary.Value(tag=tag, simple_value=x) for tag, x in scalars.items() if x is not None
        ]
        self._add(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def close(self) -> None:
        self._file.close()

    def _add(self, event: Event) -> None:
        with writing(self._path):
            self._records.write(event.SerializeToString())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
