"""What was saved comes back to the bit, on any mesh; what was not saved whole does not come
back.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from threads import left_behind

from parallel.spmd.mesh import stand_in
from stepjax.disk import checkpoint
from stepjax.disk.files import Unwritable
from stepjax.train.checkpoint import Checkpoints, sweep
from stepjax.train.programs import State

ROOT = Path(__file__).parents[3]
W, COUNT = np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32), np.int32(5)
EXPONENTS, SKIPPED = np.array([3, -7], np.int32), np.array([4, 1], np.int32)
SHAPES = State(
    {"w": jax.ShapeDtypeStruct(W.shape, W.dtype)},
    (jax.ShapeDtypeStruct((), np.int32),),
    jax.ShapeDtypeStruct(EXPONENTS.shape, np.int32),
    jax.ShapeDtypeStruct(SKIPPED.shape, np.int32),
)

KILLED_WHILE_SAVING = """
import os, pathlib, signal, sys
import numpy as np
from stepjax.train.checkpoint import Checkpoints
from stepjax.train.programs import State
folder = pathlib.Path(sys.argv[1])
checkpoints = Checkpoints(folder, keep=2)
rest = (), np.zeros(2, np.int32), np.zeros(2, np.int32)
checkpoints.save(4, State({"w": np.ones(8, np.float32)}, *rest))
assert checkpoints.latest() == 4
checkpoints.save(6, State({"w": np.zeros(2**24)}, *rest))
while not any(path.name.startswith("6") for path in folder.iterdir()):
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def shardings(*shape):
    mesh = stand_in(shape, jax.devices())
    whole = NamedSharding(mesh, P())
    return State({"w": NamedSharding(mesh, P("fsdp", "tensor"))}, (whole,), whole, whole)


def state(*shape) -> State:
    """On a mesh."""
    on_host = State({"w": W}, (COUNT,), EXPONENTS, SKIPPED)
    return jax.tree.map(jax.device_put, on_host, shardings(*shape))


def just(value: float) -> State:
    """A state of eight equal numbers."""
    return State({"w": np.full(8, value, np.float32)}, (), EXPONENTS, SKIPPED)


def shapes_of_just(size: int = 8) -> State:
    return SHAPES._replace(params={"w": jax.ShapeDtypeStruct((size,), np.float32)}, optimizer=())


def restored_number(checkpoints) -> tuple[int, float]:
    """Step and number of the checkpoint that serves, which was made of `just`."""
    found = checkpoints.restore(shapes_of_just())
    (number,) = set(found.state.params["w"].tolist())
    return found.step, number


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path, keep=2)
    yield made
    made.close()


@pytest.mark.parametrize("then", [(3, 1, 4), (2, 1, 4), (1, 2, 4), (1, 4, 2), (1, 1, 1)])
def test_a_state_comes_back_on_any_mesh(checkpoints, then):
    checkpoints.save(7, jax.device_get(state(2, 2, 4)))
    found = checkpoints.restore(SHAPES)
    there = jax.tree.map(jax.device_put, found.state, shardings(*then))
    params, (count,), exponents, skipped = there
    assert found.step == 7 and (exponents == EXPONENTS).all() and found.damaged == {}
    assert skipped.tolist() == SKIPPED.tolist()
    assert params["w"].sharding == shardings(*then).params["w"]
    assert np.asarray(params["w"]).tobytes() == W.tobytes() and count == 5


def test_a_checkpoint_of_version_0_1_has_skipped_nothing(checkpoints, tmp_path):
    arrays = {"params/w": np.ones(8, np.float32), "exponents": EXPONENTS}
    checkpoint.write(tmp_path / "3", arrays)
    found = checkpoints.restore(shapes_of_just())
    assert (found.step, found.state.skipped.tolist()) == (3, [0, 0])


def test_another_process_of_the_run_finds_it(checkpoints, tmp_path):
    checkpoints.save(7, jax.device_get(state(1, 1, 2)))
    checkpoints.close()
    later = Checkpoints(tmp_path, keep=2)
    assert later.latest() == 7
    later.close()


def test_what_happens_to_the_arrays_after_a_save_does_not_matter(checkpoints):
    """The update of the next step overwrites them, and lost nodes take them away."""
    now = state(1, 1, 1)
    checkpoints.save(1, jax.device_get(now))  # which may be the memory of the device itself
    zero = jax.jit(lambda tree: jax.tree.map(lambda x: 0 * x, tree), donate_argnums=0)
    jax.block_until_ready(zero(now))
    for leaf in jax.tree.leaves(now):
        leaf.delete()
    assert checkpoints.restore(SHAPES).state.params["w"].tobytes() == W.tobytes()


def test_the_newest_serves_and_the_oldest_go(checkpoints, tmp_path):
    assert checkpoints.latest() is None
    for step in (0, 3, 6):
        checkpoints.save(step, just(step))
    assert checkpoints.latest() == 6
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [3, 6]


def test_a_checkpoint_is_called_saved_when_it_is_on_the_disk(checkpoints, tmp_path, monkeypatch):
    may_write, write = threading.Event(), checkpoint.write

    def write_late(*args):
        assert may_write.wait(timeout=60)
        write(*args)

    monkeypatch.setattr(checkpoint, "write", write_late)
    checkpoints.save(3, just(1.0))
    assert checkpoints.committed() == []
    may_write.set()
    (saved,) = checkpoints.committed(wait=True)
    assert saved.step == 3 and saved.seconds > 0 and checkpoint.steps(tmp_path) == [3]
    assert checkpoints.committed(wait=True) == []  # it is said once


def test_a_save_that_failed_is_an_error_and_not_called_saved(checkpoints, monkeypatch):
    def full(*args):
        raise Unwritable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", full)
        checkpoints.save(3, just(1.0))
        with pytest.raises(Unwritable, match="the disk is full"):
            checkpoints.committed(wait=True)
    assert checkpoints.latest() is None
    checkpoints.save(3, just(1.0))
    assert [saved.step for saved in checkpoints.committed(wait=True)] == [3]


def test_a_damaged_checkpoint_is_set_aside_until_its_step_is_saved_again(checkpoints, tmp_path):
    for step in (3, 6):
        checkpoints.save(step, just(step))
    assert checkpoints.latest() == 6
    (tmp_path / "6/arrays/_METADATA").write_bytes(b"")
    found = checkpoints.restore(shapes_of_just())
    assert found.step == 3
    assert found.damaged == {6: f"{tmp_path}/6/arrays/_METADATA is not what was written"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "6.damaged"]
    checkpoints.save(6, just(6.0))
    assert restored_number(checkpoints) == (6, 6.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "6"]


def test_a_checkpoint_of_other_shapes_is_refused(checkpoints):
    checkpoints.save(3, just(1.0))
    with pytest.raises(
        ValueError, match=r"has params/w as float32\[8\], and the model of this config"
    ):
        checkpoints.restore(shapes_of_just(9))


def test_a_step_is_saved_once(checkpoints):
    for value in (1.0, 2.0):
        checkpoints.save(3, just(value))
    assert restored_number(checkpoints) == (3, 1.0)


def test_a_checkpoint_that_was_being_written_is_never_restored(tmp_path):
    child = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)]
    killed = subprocess.run(child, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert any(path.name.startswith("6") for path in tmp_path.iterdir())
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["4"]
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert restored_number(checkpoints) == (4, 1.0)
    checkpoints.save(6, just(6.0))
    assert checkpoints.latest() == 6
    checkpoints.close()


def test_no_thread_is_left_behind(tmp_path):
    before = set(threading.enumerate())
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, just(1.0))
    checkpoints.close()
    assert left_behind(before) == []
