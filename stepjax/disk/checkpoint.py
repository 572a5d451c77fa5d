"""Checkpoints on the disk: arrays by name, written whole, and checked when they are read.

    checkpoints/6/                 6 steps are done; a sealed folder
      arrays/                      the arrays, as Orbax writes them
      arrays.json                  shape, type and SHA-256 of every array, as it was in memory
      checksums.json               SHA-256 of every file

The files' checksums find damage before anything is decoded; the arrays' find what was written or
decoded wrongly.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from stepjax.disk.sealed import Damaged, sealed, verify

# The parts of a state.
PARAMS, OPTIMIZER, EXPONENTS, SKIPPED = "params", "optimizer", "exponents", "skipped"
ARRAYS, FACTS = "arrays", "arrays.json"
ROOM = 1.1  # of the arrays' bytes, and ROOM_FOR_EACH: what Orbax takes on the disk, at most
ROOM_FOR_EACH = 4096  # bytes


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path.

    >>> named({"decoder": {"blocks": {"gate_DN": 1}}, "exponents": 2})
    {'decoder/blocks/gate_DN': 1, 'exponents': 2}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def as_tree(shapes: Any, arrays: Mapping[str, np.ndarray], path: Path) -> Any:
    """The tree of which `arrays` are the `named` leaves; `shapes` is like it.

    Args:   path: where the arrays come from.
    Raises: ValueError, which names the first array that is not as wanted.
    """
    for name, wanted in named(shapes).items():
        found = arrays.get(name, np.zeros(0))
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"{path} has {name} as {found.dtype.name}{list(found.shape)}, and the model of "
                f"this config has it as {wanted.dtype.name}{list(wanted.shape)}: use the config "
                "that it was saved with."
            )
    return jax.tree.unflatten(jax.tree.structure(shapes), [arrays[name] for name in named(shapes)])


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Makes the folder `path` a checkpoint of these arrays.

    Raises: Unwritable; nothing is left behind then.
    """
    facts = {name: _facts(x) for name, x in arrays.items()}
    with sealed(path) as folder:
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        _make_sure_of_room(folder, arrays)
        with _orbax() as orbax:
            orbax.save((folder / ARRAYS).absolute(), args=ocp.args.PyTreeSave(_nested(arrays)))


def read(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of a checkpoint whose names begin with `prefix`.

    Raises: Damaged, if they are not, to the bit, those that were saved.
    """
    verify(path)
    try:
        facts = json.loads((path / FACTS).read_bytes())
        wanted = {name: _shape(facts[name]) for name in facts if name.startswith(prefix)}
        how = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in wanted}
        request = ocp.args.PyTreeRestore(
            _nested(wanted), restore_args=_nested(how), partial_restore=True
        )
        with _orbax() as orbax:
            arrays = named(orbax.restore((path / ARRAYS).absolute(), args=request))
    except Exception as error:  # whatever is raised where bytes make no sense
        raise Damaged(f"{path / ARRAYS} cannot be decoded ({type(error).__name__})") from error
    for name in wanted:
        x = arrays.get(name)
        if not isinstance(x, np.ndarray) or _facts(x) != facts[name]:
            raise Damaged(f"{path / ARRAYS}: the array {name} is not what was saved")
    return arrays


def steps(folder: Path) -> list[int]:
    """Steps done in each checkpoint of a folder, in order; that they are whole is not known yet."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def newest(folder: Path, prefix: str = "") -> tuple[int, dict[str, np.ndarray], dict[int, str]]:
    """The newest checkpoint that is whole.

    A checkpoint that its run removes meanwhile is not missed: there is a newer one then.
    Returns: steps done, arrays whose names begin with `prefix`, what is wrong with newer ones.
    Raises:  Damaged, if there are checkpoints and none is whole; FileNotFoundError without any.
    """
    damaged: dict[int, str] = {}
    while left := [step for step in steps(folder) if step not in damaged]:
        path = folder / str(left[-1])
        try:
            return left[-1], read(path, prefix), damaged
        except Damaged as error:
            if path.exists():
                damaged[left[-1]] = str(error)
    if not damaged:
        raise FileNotFoundError(f"{folder} holds no checkpoint.")
    raise Damaged(
        f"no checkpoint of {folder} is whole: {'; '.join(damaged.values())}; put back a copy of "
        "one, or use another --workdir."
    )


def _facts(x: np.ndarray) -> dict[str, Any]:
    sha256 = hashlib.sha256(np.ascontiguousarray(x).reshape(-1).view(np.uint8)).hexdigest()
    return {"shape": list(x.shape), "dtype": x.dtype.name, "sha256": sha256}


def _shape(facts: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(facts["shape"]), facts["dtype"])


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of dicts whose leaves have these paths.

    >>> _nested({"params/head_DV": 1, "params/norm/scale_D": 2, "exponents": 3})
    {'params': {'head_DV': 1, 'norm': {'scale_D': 2}}, 'exponents': 3}
    """
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = leaf
    return tree


def _orbax() -> contextlib.closing[ocp.Checkpointer]:
    return contextlib.closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler()))


def _make_sure_of_room(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises OSError where the arrays would not fit.

    Orbax writes with several threads. Where the disk gets full, each of them logs a traceback that
    no caller can catch; so the room is taken, and given back, before they begin.
    """
    size = int(ROOM * sum(x.nbytes for x in arrays.values())) + ROOM_FOR_EACH * len(arrays)
    room = folder / "room"
    try:
        with open(room, "xb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:  # some file systems cannot say
                    raise
    finally:
        room.unlink(missing_ok=True)
