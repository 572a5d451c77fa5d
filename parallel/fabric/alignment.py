"""Sets of two groups in two sub-lines that share their ToRs rank by rank: the exact optimum for a
pair of rows.

    A, B  the two sub-lines; their columns are ToRs     m  nodes of a group     n  sets so far
    a, b  columns of the nodes of rank k in A and B     d  b - a, at most APART

A set is a group of A and one of B. Its rank k crosses ToRs unless a = b. Where A has a faulty
node, B may skip that column too, which wastes a node and keeps the ranks together, or go on one
column apart, which wastes nothing and crosses. The sweep visits the columns and keeps, for every
n, the fewest crossing ranks of

    under_way[k, n, d]  n sets, and another whose rank k is at (a, a + d)
    done[n, d]          n sets, none of which reaches beyond (a, a + d)

so it costs O(T^2 APART K^2) steps for T columns, all but one T of them inside NumPy.

Example: m = 3, a wire reaches 2 columns, x is a faulty node, and digits are the ranks of sets.

    column   0  1  2  3  4  5  6
    A        0  x  1  2  .  .  .     one set: B skips column 1 as A has to, and no rank crosses
    B        0  .  1  2  .  x  .

    A        0  x  1  2  0  1  2     two sets need every healthy node, so B does not skip column 1;
    B        0  1  2  0  1  x  2     d is -1 up to column 5, where A has a node and B has none, and
                                     4 of the 6 ranks cross
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parallel.fabric.topology import Bools

Costs = npt.NDArray[np.int16]

APART = 16  # columns; farther apart than this, two rows are not compared
NEVER = 20_000  # ranks; more than ever cross, with room to add in 16 bits


@dataclass(frozen=True)
class PairOfRows:
    """What the sweep found."""

    crossing: Costs  # [n]: the fewest ranks of n sets that cross, NEVER where n do not fit
    under_way: Costs  # [column + reach, k, n, d + margin]
    done: Costs  # [column + 1, n, d]

    def sets(self, n: int) -> list[tuple[list[int], list[int]]]:
        """The columns in A and in B of each of n sets that reach `crossing[n]`."""
        found = []
        a, d = len(self.done) - 2, self.done.shape[2] - 1  # the state with everything behind it
        while n:
            value = self.done[a + 1, n, d]
            if d and self.done[a + 1, n, d - 1] == value:  # an unused column of B
                d -= 1
            elif d + 1 < self.done.shape[2] and self.done[a, n, d + 1] == value:  # one of A
                a, d = a - 1, d + 1
            elif self.done[a, n, d] == value:  # one of both
                a -= 1
            else:  # set n ends here
                n -= 1
                steps = self._trace(a, n, d)
                found.append(steps)
                (a, *_), (b, *_) = steps
                a, d = a - 1, b - a + APART
        return found[::-1]

    def _trace(self, a: int, n: int, d: int) -> tuple[list[int], list[int]]:
        """Back from the last rank of set n at (a, a + d) to its first."""
        reach = len(self.under_way) - len(self.done) + 1
        columns = [(a, a + d - APART)]
        for k in range(self.under_way.shape[1] - 1, 0, -1):
            crossed = 0 if d == APART else 1
            value = self.under_way[a + reach, k, n, d + reach] - crossed
            a, d = next(
                (a - step_a, d + step_a - step_b)
                for step_a in range(1, reach + 1)
                for step_b in range(1, reach + 1)
                if self.under_way[a - step_a + reach, k - 1, n, d + step_a - step_b + reach]
                == value
            )
            columns.append((a, a + d - APART))
        return [a for a, _ in columns[::-1]], [b for _, b in columns[::-1]]


def align(alive: Bools, m: int, reach: int) -> PairOfRows:
    """Sweeps the two rows `alive`, [2, columns] of bool, whose nodes reach `reach` columns far.

    >>> rows = np.array([[1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 1]], bool)
    >>> align(rows, m=3, reach=2).crossing.tolist()
    [0, 0, 4]
    """
    columns, most = alive.shape[1], alive.shape[1] // m
    width = 2 * APART + 1  # of d, which is stored as d + APART
    apart = np.arange(width) - APART
    crosses = (apart != 0).astype(np.int16)
    row_b = np.pad(alive[1], APART)
    under_way = np.full((columns + reach, m, most + 1, width + 2 * reach), NEVER, np.int16)
    done = np.full((columns + 1, most + 1, width), NEVER, np.int16)
    done[0, 0] = 0
    for a in range(columns):
        here = under_way[a + reach, :, :, reach:-reach]
        both = alive[0, a] & row_b[a : a + width]  # [d]: nodes (a, a + d) are there
        if both.any():
            here[0] = done[a]  # rank 0 begins a set behind n finished ones
            for step_a in range(1, reach + 1):
                before = under_way[a + reach - step_a, :-1]
                for step_b in range(1, reach + 1):
                    first = reach + step_a - step_b
                    np.minimum(here[1:], before[:, :, first : first + width], out=here[1:])
            here += crosses
            here[:, :, ~both] = NEVER
        now = done[a + 1]
        now[:, :-1] = done[a, :, 1:]  # the same b, one column of A further
        np.minimum(now, done[a], out=now)
        np.minimum(now[1:], here[-1, :-1], out=now[1:])  # the last rank ends a set
        np.minimum.accumulate(now, axis=1, out=now)  # what reaches less far may also count
    return PairOfRows(done[columns, :, -1], under_way, done)
