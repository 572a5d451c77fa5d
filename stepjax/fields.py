"""Sections of a config as frozen dataclasses whose fields refuse values that they cannot have.

A section has a place in the config, and every field has a kind:

    @dataclasses.dataclass(frozen=True)
    class CheckpointConfig(Section, place="checkpoint"):
        every: int = whole(1, 10**9)

    CheckpointConfig(**config.checkpoint)
    # ValueError: checkpoint.every=0 cannot be used; give a whole number from 1 to 1,000,000,000.

A bool is not a number here, 3.0 is not a whole number, and NaN and infinity are in no range.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, Self

REQUIRED = dataclasses.MISSING


class Kind(NamedTuple):
    """What a field may hold."""

    wanted: str  # completes "give ..."
    fits: Callable[[Any], bool]
    read: Callable[[Any], Any]  # from what a config holds to what the field holds


class Section:
    """A section of a config. Raises ValueError, in one sentence, for a value of the wrong kind.

    A section that demands something between its fields does so in a __post_init__ of its own,
    which calls this one first.
    """

    place: ClassVar[str]

    def __init_subclass__(cls, place: str):
        cls.place = place

    @classmethod
    def of(cls, given: Any) -> Self:
        """The section from a mapping, such as a part of a ConfigDict.

        Raises: ValueError, also for names that are missing or not known.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if not _is_mapping(given):
            raise ValueError(refusal(cls.place, given, f"a section with {', '.join(fields)}"))
        for name in given:
            if name not in fields:
                raise ValueError(
                    f"{cls.dotted(name)} is not known; the fields are {', '.join(fields)}."
                )
        for name, field in fields.items():
            if name not in given and field.default is REQUIRED:
                raise ValueError(f"{cls.dotted(name)} is missing; configs/base.py has every field.")
        return cls(**given)

    @classmethod
    def dotted(cls, field: str) -> str:
        """The full name of a field, as it follows `--config.` on the command line."""
        return f"{cls.place}.{field}" if cls.place else str(field)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), field.metadata["kind"]
            if value is None and field.default is None:
                continue
            if not kind.fits(value):
                raise ValueError(refusal(self.dotted(field.name), value, kind.wanted))
            object.__setattr__(self, field.name, kind.read(value))


def whole(least: int, most: int, default: Any = REQUIRED) -> Any:
    """A whole number from `least` to `most`."""
    return _field(f"a whole number {_range(least, most)}", _within(int, least, most), default)


def real(least: float, most: float, default: Any = REQUIRED) -> Any:
    """A number from `least` to `most`, whole or not."""
    within = _within((int, float), least, most)
    return _field(f"a number {_range(least, most)}", within, default, read=float)


def flag() -> Any:
    """True or False."""
    return _field("True or False", lambda x: isinstance(x, bool))


def text() -> Any:
    """Any string."""
    return _field("a string in quotes", lambda x: isinstance(x, str))


def one_of(known: Iterable[str]) -> Any:
    """One of these strings."""
    known = tuple(known)
    return _field(" or ".join(known), lambda x: isinstance(x, str) and x in known)


def names(example: str) -> Any:
    """One string or more, none of them empty."""

    def fits(x):
        return _is_sequence(x) and bool(x) and all(isinstance(each, str) and each for each in x)

    return _field(f"names in brackets, such as {example}", fits, read=tuple)


def limits(
    kind: type, least: float, most: float, default: Any = REQUIRED, empty: bool = False
) -> Any:
    """(least, most) in order, two numbers of this kind within these bounds; `empty` allows ()."""
    within = _within(int if kind is int else (int, float), least, most)

    def fits(x):
        if not _is_sequence(x):
            return False
        return (empty and not x) or (len(x) == 2 and all(map(within, x)) and x[0] <= x[1])

    what = "whole numbers" if kind is int else "numbers"
    wanted = f"(least, most), two {what} {_range(least, most)}{', or ()' if empty else ''}"
    return _field(wanted, fits, default, read=tuple)


def weights(known: Iterable[str]) -> Any:
    """A weight from 0 to 1,000 for some of these names, and more than 0 for one of them."""
    within = _within((int, float), 0, 1000)
    known = tuple(known)

    def fits(x):
        if not _is_mapping(x) or not all(name in known for name in x):
            return False
        return all(within(x[name]) for name in x) and any(x[name] > 0 for name in x)

    wanted = f"weights from 0 to 1,000 for {', '.join(known)}, one of them above 0"
    return _field(wanted, fits, read=lambda x: {name: float(x[name]) for name in x})


def section(cls: type[Section], default: Any = REQUIRED) -> Any:
    """A section within a section."""
    return _field("", lambda x: True, default, lambda x: x if isinstance(x, cls) else cls.of(x))


def refusal(name: str, value: Any, wanted: str) -> str:
    """The sentence on a value that cannot be used.

    >>> refusal("steps", 0, "a whole number of at least 1")
    'steps=0 cannot be used; give a whole number of at least 1.'
    """
    return f"{name}={_shown(value)} cannot be used; give {wanted}."


def _is_mapping(x: Any) -> bool:
    """Whether `x` is a dict or a ConfigDict."""
    return hasattr(x, "keys") and hasattr(x, "items")


def _is_sequence(x: Any) -> bool:
    return isinstance(x, (tuple, list))


def _field(wanted: str, fits: Callable, default: Any = REQUIRED, read: Callable = lambda x: x):
    return dataclasses.field(default=default, metadata={"kind": Kind(wanted, fits, read)})


def _within(types: type | tuple[type, ...], least: float, most: float) -> Callable[[Any], bool]:
    def within(x):
        return isinstance(x, types) and not isinstance(x, bool) and least <= x <= most

    return within


def _range(least: float, most: float) -> str:
    """
    >>> _range(1, 10**6), _range(1e-12, 1.0)
    ('from 1 to 1,000,000', 'from 1e-12 to 1')
    """
    shown = (f"{x:,}" if isinstance(x, int) else f"{x:.7g}" for x in (least, most))
    return "from {} to {}".format(*shown)


def _shown(value: Any) -> str:
    """The value in one line of at most 60 characters."""
    plain = dict(value) if _is_mapping(value) else value
    try:
        words = " ".join(repr(plain).split())
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"
    return words if len(words) <= 60 else f"{words[:57]}..."
