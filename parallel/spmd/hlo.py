"""What a compiled program communicates, read from its text (`compiled.as_text()`).

A program is a list of computations, each a list of instructions; the one called ENTRY calls the
others. XLA promises no stable format for this text, so anything that looks like communication and
cannot be read is refused: an audit must not overlook anything.

A collective states by partition number which devices communicate, in one of four ways:

    source_target_pairs={{0,1},{1,0}}    0 sends to 1, and 1 to 0
    replica_groups={{0,1},{2,3}}         written out; {} is one group of all
    replica_groups=[2,4]<=[4,2]T(1,0)    0 .. 7 as 4 x 2, transposed, read as 2 groups of 4
    replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}
                                         over axis a; 'a':(2)2 is its minor half
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)
# How opcodes that communicate begin.
COMMUNICATES = re.compile("all-|collective-|ragged-all|reduce-scatter|send|recv")
HEADER = re.compile(r"(ENTRY )?%([\w.-]+) .*\{$")
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%([\w.-]+) = (\(.*?\)|\S+) ([a-z][\w-]*)\((.*)")
NAME = re.compile(r"%([\w.-]+)")
CALLED = re.compile(r"\b(?:calls|to_apply|condition|body|\w+_computations?)=(\{[^}]*\}|%[\w.-]+)")
TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")
PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")
WRITTEN_OUT = re.compile(r"replica_groups=\{((?:\{[\d,]+\},?)*)\}")
IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
MESH = re.compile(
    r"replica_groups=mesh\[([^]]+)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? "
    r"\{([^}]*)\}"
)


@dataclasses.dataclass(frozen=True)
class Communication:
    """One call of a collective."""

    kind: str  # one of KINDS
    bytes: int  # of a device's operands
    pairs: tuple[tuple[int, int], ...]  # (from, to), of a collective-permute
    groups: tuple[tuple[int, ...], ...]  # that communicate, of all other kinds
    trips: tuple[int | None, ...]  # of the loops around it, outermost first; None: not stated


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    rest: str  # operands and attributes

    @property
    def operands(self) -> list[str]:
        """The names of the instructions whose results it takes."""
        return NAME.findall(self.rest.split("), ")[0])

    @property
    def called(self) -> list[str]:
        """The computations that it calls."""
        return [name for names in CALLED.findall(self.rest) for name in NAME.findall(names)]


def num_partitions(hlo_text: str) -> int:
    """How many devices a program is for."""
    stated = re.search(r"\bnum_partitions=(\d+)", hlo_text.partition("\n")[0])
    return int(stated[1]) if stated else 1


def communications(hlo_text: str) -> list[Communication]:
    """Every collective in the order of the text, once for each call of its computation.

    All branches of a conditional count.
    """
    computations, entry = parse(hlo_text)
    reached: set[str] = set()

    def walk(computation: str, trips: tuple[int | None, ...]) -> Iterator[Communication]:
        reached.add(computation)
        instructions = computations[computation]
        for instruction in instructions.values():
            inside = trips
            if instruction.opcode == "while":
                stated = TRIP_COUNT.search(instruction.rest)
                inside = (*trips, int(stated[1]) if stated else None)
            elif communicates(instruction.opcode):
                shapes = [instructions[name].shape for name in instruction.operands]
                yield _communication(instruction, shapes, trips, num_partitions(hlo_text))
            for called in instruction.called:
                yield from walk(called, inside)

    found = list(walk(entry, ()))
    communicating = {
        name
        for name, body in computations.items()
        if any(communicates(i.opcode) for i in body.values())
    }
    assert communicating <= reached, (
        f"{communicating - reached} communicate, but no call of them was found: a kind of call was "
        "overlooked."
    )
    return found


def parse(hlo_text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """Computations by name, each its instructions by name; and the name of the entry."""
    computations: dict[str, dict[str, Instruction]] = {}
    body: dict[str, Instruction] = {}
    entry = ""
    for line in re.sub(r"/\*.*?\*/", "", hlo_text).splitlines():
        if header := HEADER.match(line):
            body = computations[header[2]] = {}
            entry = header[2] if header[1] else entry
        elif found := INSTRUCTION.match(line):
            body[found[1]] = Instruction(*found.groups())
    if not entry:
        raise ValueError(
            "the text has no ENTRY computation: pass `compiled.as_text()` of a compiled program."
        )
    return computations, entry


def communicates(opcode: str) -> bool:
    """Whether an opcode starts communication; `...-start` does, its `...-done` only waits."""
    if opcode.removesuffix("-start") in KINDS:
        return True
    if COMMUNICATES.match(opcode) and not opcode.endswith("-done"):
        raise ValueError(
            f"the program has a {opcode!r}, which cannot be audited; known are {', '.join(KINDS)}."
        )
    return False


def size_of(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple.

    >>> size_of("f32[2,3]{1,0}"), size_of("(bf16[8]{0}, (s8[3]{0}, pred[]))"), size_of("token[]")
    (24, 20, 0)
    """

    elements = [(_bits(dtype), dims.replace("<=", "")) for dtype, dims in ARRAY.findall(shape)]
    return sum(-(-each * int(np.prod(_ints(dims))) // 8) for each, dims in elements)


def _bits(dtype: str) -> int:
    """Bits of one element; a token has none."""
    stated = re.search(r"\d+", dtype)  # f8e4m3fn has 8
    if stated:
        return int(stated[0])
    return 8 if dtype == "pred" else 0


def _communication(
    instruction: Instruction, shapes: list[str], trips: tuple[int | None, ...], size: int
) -> Communication:
    kind = instruction.opcode.removesuffix("-start")
    if kind == "ragged-all-to-all":
        shapes = shapes[:1]  # the others are offsets and sizes
    operand_bytes = sum(map(size_of, shapes))
    if kind != "collective-permute":
        return Communication(kind, operand_bytes, (), groups(instruction.rest, size), trips)
    written = PAIRS.search(instruction.rest)
    if not written:
        raise _unreadable(instruction.rest)
    ids = _ints(written[1])
    pairs = tuple(zip(ids[::2], ids[1::2], strict=True))
    return Communication(kind, operand_bytes, pairs, (), trips)


def groups(attributes: str, size: int) -> tuple[tuple[int, ...], ...]:
    """The groups of a collective on `size` partitions, whichever way they are written.

    >>> groups("replica_groups={{0,2},{1,3}}", 4), groups("replica_groups=[2,2]<=[2,2]T(1,0)", 4)
    (((0, 2), (1, 3)), ((0, 2), (1, 3)))
    >>> groups("replica_groups=mesh['a'=2,'b'=2] {'a'}", 4), groups("replica_groups={}", 4)
    (((0, 2), (1, 3)), ((0, 1, 2, 3),))
    """
    if found := WRITTEN_OUT.search(attributes):
        each = [tuple(_ints(group)) for group in re.findall(r"\{([\d,]+)\}", found[1])]
        found_groups = tuple(each) or (tuple(range(size)),)
    elif found := IOTA.search(attributes):
        ids = _iota(found[3], found[4]).reshape(int(found[1]), int(found[2]))
        found_groups = tuple(map(tuple, ids.tolist()))
    elif found := MESH.search(attributes):
        found_groups = _over_axes(*found.groups())
    else:
        raise _unreadable(attributes)
    if sorted(i for group in found_groups for i in group) != list(range(size)):
        raise ValueError(
            f"groups {found_groups} are not a partition of {size} devices; this form is not known "
            "to the audit."
        )
    return found_groups


def _over_axes(
    mesh: str, dims: str | None, permutation: str | None, axes: str
) -> tuple[tuple[int, ...], ...]:
    """Groups over some axes, or parts of axes, of a mesh that XLA wrote with the collective."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    total = int(np.prod(list(sizes.values())))
    ids = _iota(dims or str(total), permutation)
    at = dict(zip(sizes, np.indices(tuple(sizes.values())).reshape(len(sizes), -1), strict=True))
    for name, before, part in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", axes):
        stride = sizes[name] // (int(before) * int(part)) if part else 1
        at[name] = at[name] - at[name] // stride % int(part or sizes[name]) * stride
    home = np.ravel_multi_index(tuple(at.values()), tuple(sizes.values()))
    return tuple(tuple(ids[home == h].tolist()) for h in np.unique(home))


def _iota(dims: str, permutation: str | None) -> np.ndarray:
    """0, 1, 2, ... in an array of these dimensions, transposed, flat."""
    shape = _ints(dims)
    ids = np.arange(np.prod(shape)).reshape(shape)
    return ids.transpose(_ints(permutation) if permutation else None).ravel()


def _ints(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", text)]


def _unreadable(attributes: str) -> ValueError:
    return ValueError(
        f"cannot read which devices communicate in '{attributes[:200]}'; this form is not known to "
        "the audit."
    )
