"""Which dimension of a parameter is split over which mesh axis: the letters of its name say it.

`tensor` follows Megatron's pairs (Shoeybi et al. 2019): the first product of a pair is split over
its outputs, the second over its inputs. `fsdp` takes the largest dimension that is left and divides
evenly by the configured size; a run that lost nodes keeps that choice and splits it over fewer
devices, so that sums over parameters keep their order.
"""

import jax
from jax.sharding import PartitionSpec as P

from parallel.spmd.mesh import FSDP, TENSOR

# The last part of a parameter's name spells its dimensions: `q_bias_HK` has heads and head sizes.
# H heads   G key/value heads   N hidden width   V vocabulary   C channels between two products
AXIS_OF = {"H": TENSOR, "G": TENSOR, "N": TENSOR, "V": TENSOR, "C": TENSOR}


def letters(name: str) -> str:
    """The dimensions of a parameter, a letter or digit each.

    >>> letters("conv1_3MC"), letters("q_bias_HK"), letters("scale_D")
    ('3MC', 'HK', 'D')
    """
    return name.rsplit("_", 1)[1]


def spec(path, shape: tuple[int, ...], fsdp: int) -> P:
    """PartitionSpec of one parameter. Dimensions before its letters, as of a stack, stay whole.

    Args:    path: its tree path   shape: its global shape   fsdp: configured size of the fsdp axis
    """
    dims = letters(path[-1].key)
    first = len(shape) - len(dims)
    axes = [None] * first + [AXIS_OF.get(letter) for letter in dims]
    free = [d for d in range(first, len(shape)) if axes[d] is None and shape[d] % fsdp == 0]
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
