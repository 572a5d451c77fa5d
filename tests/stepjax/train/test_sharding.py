"""Letters say how every parameter is split, and the devices' parts of it are the whole, once."""

import itertools
import math

import jax
import numpy as np
import pytest
import tiny_run
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.spmd.mesh import FSDP, TENSOR, stand_in
from stepjax.train.programs import model_and_programs
from stepjax.train.sharding import AXIS_OF, dim_of, letters, spec, specs


def keys_of(path) -> tuple[jax.tree_util.DictKey, ...]:
    """A path of strings as jax gives it."""
    return tuple(jax.tree_util.DictKey(name) for name in path)


@pytest.fixture(scope="module")
def params() -> dict[tuple[str, ...], tuple[int, ...]]:
    """The shapes of the model's parameters by their path."""
    _, programs = model_and_programs(tiny_run.config(), vocabulary=320)
    leaves = jax.tree_util.tree_leaves_with_path(programs.params)
    return {tuple(str(key.key) for key in path): leaf.shape for path, leaf in leaves}


def test_a_name_has_a_letter_for_every_dimension(params):
    for path, shape in params.items():
        assert len(letters(path[-1])) == len(shape) - ("blocks" in path), path
        assert "3" not in letters(path[-1]) or 3 in shape, path


def test_no_letter_of_the_table_is_idle(params):
    assert AXIS_OF.keys() <= set("".join(letters(path[-1]) for path in params))


def test_what_a_ring_holds_whole_is_a_vector(params):
    """So no matrix is kept whole by mistake; the adaptor's last one is, which follows a sum."""
    for path, shape in params.items():
        whole = dim_of(TENSOR, spec(keys_of(path), shape, fsdp=1)) is None
        if whole and path != ("adaptor", "out_PD"):
            assert len(letters(path[-1])) == 1, path


def test_a_ring_splits_no_more_than_one_dimension_of_a_parameter(params):
    for path in params:
        assert [AXIS_OF.get(letter) for letter in letters(path[-1])].count(TENSOR) <= 1, path


@pytest.mark.parametrize(
    "product",
    [
        "conv1_3MC conv2_3CW", "query_WHK out_HKW", "in_WN out_NW",
        "conv_3WC in_CP", "q_DHK out_HKD", "gate_DN down_ND", "up_DN down_ND",
    ],
)  # fmt: skip
def test_of_a_pair_of_products_the_first_is_split_by_outputs_and_the_second_by_inputs(product):
    first, second = (letters(name) for name in product.split())
    shared = {letter for letter in set(first) & set(second) if letter in AXIS_OF}
    (split,) = shared  # the letter that leaves the first product and enters the second
    assert first.index(split) > 0 and AXIS_OF[split] == TENSOR
    assert second.index(split) < len(second) - 1


@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_fsdp_takes_the_largest_dimension_that_is_left_and_divides(params, fsdp):
    for path, shape in params.items():
        axes = list(spec(keys_of(path), shape, fsdp))
        first = int("blocks" in path)
        left = [d for d in range(first, len(shape)) if axes[d] != TENSOR and shape[d] % fsdp == 0]
        assert all(axis is None for axis in axes[:first])
        if left:
            assert shape[axes.index(FSDP)] == max(shape[d] for d in left)
        else:
            assert FSDP not in axes


@pytest.mark.parametrize("data, fsdp, tensor", [(1, 1, 4), (2, 2, 4), (1, 2, 2), (4, 1, 1)])
def test_the_parts_of_a_replica_are_the_whole_once(params, data, fsdp, tensor):
    mesh = stand_in((data, fsdp, tensor), jax.devices())
    for path, shape in params.items():
        partition = spec(keys_of(path), shape, 2)
        held = np.zeros(shape, int)
        for index in NamedSharding(mesh, partition).devices_indices_map(shape).values():
            held[index] += 1
        sizes = {FSDP: fsdp, TENSOR: tensor}
        parts = math.prod(n for axis, n in sizes.items() if dim_of(axis, partition) is not None)
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
    assert spec(keys_of(["norm_W"]), (7,), fsdp=2) == P(None)
    assert spec(keys_of(["conv1_3MC"]), (3, 127, 16), fsdp=2) == P(None, None, "tensor")


def test_a_dimension_is_found_by_its_axis():
    for axes in itertools.permutations(["tensor", "fsdp", None]):
        assert dim_of("fsdp", P(*axes)) == axes.index("fsdp")
    assert dim_of("fsdp", P(None, "tensor")) is None
