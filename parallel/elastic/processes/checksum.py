"""Checksums of what replicas hold alike, and which node is wrong where they differ.

A wrong bit in the memory of one node spreads to all others with the next sum of gradients, and no
loss shows it. So before a step counts, nodes that hold the same parts of the state compare what
they are about to do to it.
"""

import collections
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from parallel.elastic.snapshot import boxes


class Check(NamedTuple):
    """What one node has, before a step counts."""

    layout: int  # equal for nodes that hold the same parts
    value: int  # of all that it holds
    kept: bool  # whether the state is as it was when the step began


class Verdict(NamedTuple):
    """What the checks of all nodes say."""

    wrong: frozenset[int]
    undecided: bool  # some are wrong, and it cannot be said which


def checksum(tree: Any) -> tuple[int, int]:
    """The layout and the value, CRC-32, of the shards of `tree` that this process reaches."""
    layout = value = 0
    for leaf in jax.tree.leaves(tree):
        box_on = boxes(leaf.sharding, leaf.shape)
        for shard in leaf.addressable_shards:
            layout = zlib.crc32(repr(box_on[shard.device]).encode(), layout)
            block = np.ascontiguousarray(shard.data)
            value = zlib.crc32(block.reshape(-1).view(np.uint8).data, value)
    return layout, value


def compare(checks: Mapping[int, Check]) -> Verdict:
    """Who is wrong: those whose state has changed by itself, and those that most replicas outvote.

    >>> compare({0: Check(1, 7, True), 1: Check(1, 7, True), 2: Check(1, 8, True)})
    Verdict(wrong=frozenset({2}), undecided=False)
    >>> compare({0: Check(1, 7, True), 1: Check(1, 8, True)})
    Verdict(wrong=frozenset(), undecided=True)
    """
    wrong = {node for node, check in checks.items() if not check.kept}
    undecided = False
    replicas = collections.defaultdict(list)
    for node, check in checks.items():
        if node not in wrong:
            replicas[check.layout].append(node)
    for nodes in replicas.values():
        values = collections.Counter(checks[node].value for node in nodes)
        (most, votes), *others = values.most_common()
        if 2 * votes > len(nodes):
            wrong |= {node for node in nodes if checks[node].value != most}
        else:
            undecided = undecided or bool(others)
    return Verdict(frozenset(wrong), undecided)
