"""Every parameter of the model has its line in the table, and the devices' parts of it are the
whole, once.
"""

import itertools
import math

import jax
import numpy as np
import pytest
import tiny_run
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.spmd.mesh import stand_in
from stepjax.train import loop
from stepjax.train.sharding import TENSOR_DIM, dim_of, spec, specs

HEADS = {"H", "G"}  # what a ring splits of attention


@pytest.fixture(scope="module")
def params() -> dict[tuple[str, ...], tuple[int, ...]]:
    """The shapes of the model's parameters by their path."""
    _, step = loop.model_and_step(tiny_run.config(), vocabulary=320)
    leaves = jax.tree_util.tree_leaves_with_path(step.shapes)
    return {tuple(str(key.key) for key in path): leaf.shape for path, leaf in leaves}


def test_the_table_is_about_this_model(params):
    assert TENSOR_DIM.keys() <= {path[-1] for path in params}


def test_what_is_not_in_the_table_is_a_vector(params):
    """So no matrix is kept whole on every device by mistake; the adaptor's last one is, which
    follows a sum.
    """
    for path, shape in params.items():
        if path[-1] not in TENSOR_DIM and path != ("adaptor", "out_PD"):
            assert len(shape) - ("blocks" in path) == 1, path


def test_of_attention_the_heads_are_split(params):
    for path in params:
        letters = path[-1].rsplit("_", 1)[1]
        if HEADS & set(letters):
            assert letters[TENSOR_DIM[path[-1]]] in HEADS


@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_fsdp_takes_the_largest_dimension_that_is_left_and_divides(params, fsdp):
    for path, shape in params.items():
        axes = [*spec(path, shape, fsdp), *[None] * len(shape)][: len(shape)]
        first = int("blocks" in path)
        left = [d for d in range(first, len(shape)) if axes[d] != "tensor" and shape[d] % fsdp == 0]
        assert all(axis is None for axis in axes[:first])
        assert (
            (shape[axes.index("fsdp")] == max(shape[d] for d in left))
            if left
            else "fsdp" not in axes
        )


@pytest.mark.parametrize("data, fsdp, tensor", [(1, 1, 4), (2, 2, 4), (1, 2, 2), (4, 1, 1)])
def test_the_parts_of_a_replica_are_the_whole_once(params, data, fsdp, tensor):
    mesh = stand_in((data, fsdp, tensor), jax.devices())
    for path, shape in params.items():
        partition = spec(path, shape, 2)
        held = np.zeros(shape, int)
        for index in NamedSharding(mesh, partition).devices_indices_map(shape).values():
            held[index] += 1
        sizes = {"fsdp": fsdp, "tensor": tensor}
        parts = math.prod(
            size for axis, size in sizes.items() if dim_of(axis, partition) is not None
        )
        assert (held == mesh.size // parts).all(), path


def test_a_tree_is_split_leaf_by_leaf(params):
    tree = {
        "blocks": {"in_WN": np.zeros((3, 8, 16)), "norm_W": np.zeros((3, 8))},
        "head_DV": np.zeros((8, 64)),
    }
    assert specs(tree, fsdp=2) == {
        "blocks": {"in_WN": P(None, "fsdp", "tensor"), "norm_W": P(None, "fsdp")},
        "head_DV": P("fsdp", "tensor"),
    }


def test_what_does_not_divide_stays_whole():
    assert spec(("norm_W",), (7,), fsdp=2) == P(None)
    assert spec(("conv1_3MW",), (3, 127, 16), fsdp=2) == P(None, None, "tensor")


def test_a_dimension_is_found_by_its_axis():
    for axes in itertools.permutations(["tensor", "fsdp", None]):
        assert dim_of("fsdp", P(*axes)) == axes.index("fsdp")
    assert dim_of("fsdp", P(None, "tensor")) is None
