"""Settings of experiments: dataclasses made from parts of a config, whose numbers are in range."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

T = TypeVar("T")


class Range(NamedTuple):
    low: float
    high: float = math.inf
    above: bool = False  # the lower bound itself is too low

    def __str__(self) -> str:
        """
        >>> str(Range(1)), str(Range(0, 1)), str(Range(0, 1, above=True))
        ('at least 1', 'at least 0 and at most 1', 'above 0 and at most 1')
        """
        least = f"{'above' if self.above else 'at least'} {self.low:g}"
        return least if self.high == math.inf else f"{least} and at most {self.high:g}"

    def holds(self, number: float) -> bool:
        enough = number > self.low if self.above else number >= self.low
        return math.isfinite(number) and enough and number <= self.high


COUNT, SHARE, SCALE, POSITIVE = Range(1), Range(0, 1), Range(0, 1, True), Range(0, above=True)
RANGES = {  # by the name of a field, which means the same in every experiment
    "num_gpus": COUNT,
    "num_nodes": COUNT,
    "gpus_per_node": COUNT,
    "tensor": COUNT,
    "hops": COUNT,
    "draws": COUNT,
    "seed": Range(0),
    "fault_ratio": SHARE,
    "fault_ratios": SHARE,
    "job_scales": SCALE,
    "days": POSITIVE,
    "gpu_dollars": Range(0),
    "nodes_per_tor": COUNT,
    "tors_per_domain": COUNT,
    "peers": COUNT,
    "parameters": POSITIVE,
    "layers": COUNT,
    "width": COUNT,
    "tokens": COUNT,
    "microbatches": COUNT,
    "step": POSITIVE,
    "checkpoint_every": POSITIVE,
    "restart": Range(0),
    "rebuild": Range(0),
}


def make(kind: type[T], part: Mapping[str, Any], where: str) -> T:
    """A dataclass from the part of a config that has a value for each of its fields.

    Numbers become what the annotation of their field says, `int`, `float` or a tuple of them.

    Args:   where: the name of the part in the config, for errors.
    Raises: ValueError, in one sentence, for a field too many or too few, and for what is no number
            or out of range.
    """
    wanted = {field.name: field.type for field in fields(kind)}
    for name in part.keys() - wanted.keys():
        raise ValueError(
            f"{where}.{name} is not known: {where} has the fields {', '.join(wanted)}."
        )
    for name in wanted.keys() - part.keys():
        raise ValueError(f"{where}.{name} is missing; configs/simulate.py has a value for it.")
    return kind(**{name: _value(wanted[name], part[name], f"{where}.{name}") for name in wanted})


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}={value!r} must have the fields of {kind.__name__}.")
        return make(kind, value, where)
    if get_origin(kind) is tuple:
        values = value if isinstance(value, (tuple, list)) else (value,)
        if not values:
            raise ValueError(f"{where} is empty: give at least one number.")
        return tuple(_number(get_args(kind)[0], each, where) for each in values)
    if kind is str:
        return str(value)
    return _number(kind, value, where)


def _number(kind: type, value: Any, where: str) -> Any:
    wanted = "a whole number" if kind is int else "a number"
    if not isinstance(value, (int, float)) or (kind is int and value % 1):
        raise ValueError(f"{where}: {value!r} is given where {wanted} is wanted.")
    within = RANGES[where.rpartition(".")[2]]
    if not within.holds(value):
        raise ValueError(f"{where}: {value} is given, and it must be finite and {within}.")
    return kind(value)
