"""Which dimension of every parameter is split over which mesh axis: one table for the whole model.

`tensor` follows Megatron's pairs (Shoeybi et al. 2019): the first product of a pair is split over
its outputs, the second over its inputs. `fsdp` takes the largest dimension that is left and divides
evenly by the configured size; a run that lost nodes keeps that choice and splits it over fewer
devices, so that sums over parameters keep their order.
"""

import jax
from jax.sharding import PartitionSpec as P

from parallel.spmd.mesh import FSDP, TENSOR

# Parameter name -> dimension split over `tensor`, not counting the stack's leading layer dimension.
# The letters of a name are its dimensions. Parameters that are not listed (norms, biases after a
# sum) are whole everywhere.
TENSOR_DIM = {
    "conv1_3MW": 2, "conv1_bias_W": 0, "conv2_3WW": 1,
    "query_WHK": 1, "query_bias_HK": 0, "key_WHK": 1, "value_WHK": 1, "value_bias_HK": 0, "out_HKW": 0,
    "in_WN": 1, "in_bias_N": 0, "out_NW": 0,
    "conv_3WW": 2, "conv_bias_W": 0, "in_WP": 0,
    "q_DHK": 1, "q_bias_HK": 0, "k_DGK": 1, "k_bias_GK": 0, "v_DGK": 1, "v_bias_GK": 0, "out_HKD": 0,
    "gate_DN": 1, "up_DN": 1, "down_ND": 0,
    "table_VD": 0, "head_DV": 1,
}  # fmt: skip


def spec(path, shape: tuple[int, ...], fsdp: int) -> P:
    """PartitionSpec of one parameter.

    Args:    path: its tree path   shape: its global shape   fsdp: configured size of the fsdp axis
    """
    keys = [str(getattr(key, "key", key)) for key in path]
    stacked = "blocks" in keys
    axes = [None] * len(shape)
    if keys[-1] in TENSOR_DIM:
        axes[TENSOR_DIM[keys[-1]] + stacked] = TENSOR
    free = [d for d in range(int(stacked), len(shape)) if axes[d] is None and shape[d] % fsdp == 0]
    if free:
        axes[max(free, key=lambda d: shape[d])] = FSDP
    return P(*axes)


def specs(params, fsdp: int):
    """PartitionSpecs of a whole tree of parameters (arrays or shapes)."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: spec(path, leaf.shape, fsdp), params)


def dim_of(axis: str, partition: P) -> int | None:
    """The dimension that `axis` splits, if any.

    >>> dim_of(FSDP, P(None, TENSOR, FSDP)), dim_of(FSDP, P())
    (2, None)
    """
    return partition.index(axis) if axis in partition else None
