"""Checkpoints on the disk: arrays by name, written whole, and checked when they are read.

    checkpoints/6/                 6 steps are done; a sealed folder
      arrays.npz                   the arrays, as NumPy writes them
      arrays.json                  shape, type and SHA-256 of every array, as it was in memory
      checksums.json               SHA-256 of both files

The files' checksums find damage before anything is decoded; the arrays' find what was written or
decoded wrongly.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stepjax.disk.sealed import Damaged, sealed, verify

PARAMS, OPTIMIZER, EXPONENTS = "params", "optimizer", "exponents"  # the parts of a state
ARRAYS, FACTS = "arrays.npz", "arrays.json"


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
        np.savez(folder / ARRAYS, **{name: _bits(x) for name, x in arrays.items()})


def read(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of a checkpoint whose names begin with `prefix`.

    Raises: Damaged, if they are not, to the bit, those that were saved.
    """
    verify(path)
    arrays = {}
    try:
        facts = json.loads((path / FACTS).read_bytes())
        with open(path / ARRAYS, "rb") as file, np.load(file) as stored:
            for name in facts:
                if name.startswith(prefix):
                    arrays[name] = stored[name].view(facts[name]["dtype"])
    except Exception as error:  # whatever is raised where bytes make no sense
        raise Damaged(f"{path / ARRAYS} cannot be decoded ({type(error).__name__})") from error
    for name, x in arrays.items():
        if _facts(x) != facts[name]:
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


def _bits(x: np.ndarray) -> np.ndarray:
    """`x` in a type that NumPy can write; types such as bfloat16 are none."""
    return x if x.dtype.isbuiltin == 1 else x.view(f"u{x.dtype.itemsize}")
