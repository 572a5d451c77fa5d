"""TensorBoard reads what a run wrote, however often it began anew."""

import threading

import numpy as np
import pytest
from small_disk import KB, fill, small_disk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stepjax.disk.files import Unwritable
from stepjax.train.board import Board


def scalars(folder) -> dict:
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(x.step, x.value) for x in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_the_scalars(tmp_path):
    with Board(tmp_path) as board:
        board.write(0, {"loss/text": 2.5, "loss/audio": None})
        board.write(1, {"loss/text": 1.25, "loss/audio": np.float32(0.5)})
    assert scalars(tmp_path) == {"loss/text": [(0, 2.5), (1, 1.25)], "loss/audio": [(1, 0.5)]}


def test_a_resumed_run_hides_the_steps_that_it_does_again(tmp_path):
    for first_step in (0, 2):
        with Board(tmp_path, first_step) as board:
            for step in range(first_step, 4):
                board.write(step, {"loss": 10.0 * first_step + step})
    assert scalars(tmp_path) == {"loss": [(0, 0.0), (1, 1.0), (2, 22.0), (3, 23.0)]}


def test_a_full_disk_is_an_error_where_it_is_written_and_no_thread_dies_of_it(tmp_path):
    before = threading.active_count()
    with small_disk(tmp_path / "disk", 64 * KB) as disk, Board(disk) as board:
        board.write(0, {"loss": 1.0})
        fill(disk)
        with pytest.raises(Unwritable, match=f"^{disk}/events.out.tfevents.* cannot be written"):
            for step in range(1, 1000):
                board.write(step, {"loss": 1.0})
        assert scalars(disk)["loss"][0] == (0, 1.0)
        assert threading.active_count() == before
