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
"""

from dataclasses import dataclass

import numpy as np

APART = 16  # columns; farther apart than this, two rows are not compared
NEVER = 20_000  # ranks; more than ever cross, with room to add in 16 bits


@dataclass(frozen=True)
class PairOfRows:
    """What the sweep found: `crossing[n]` is the fewest ranks of n sets that cross, NEVER where n
    do not fit.
    """

    crossing: np.ndarray
    under_way: np.ndarray  # [column + reach, k, n, d + margin]
    done: np.ndarray  # [column + 1, n, d]

    def sets(self, n: int) -> list[tuple[list[int], list[int]]]:
        """The columns in A and in B of each of n sets that reach `crossing[n]`."""
        found, a, d = [], len(self.done) - 2, self.done.shape[2] - 1
        while n:
            value = self.done[a + 1, n, d]
            if d and self.done[a + 1, n, d - 1] == value:
                d -= 1
            elif d + 1 < self.done.shape[2] and self.done[a, n, d + 1] == value:
                a, d = a - 1, d + 1
            elif self.done[a, n, d] == value:
                a -= 1
            else:
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
            value = self.under_way[a + reach, k, n, d + reach] - (d != APART)
            a, d = next(
                (a - step_a, d + step_a - step_b)
                for step_a in range(1, reach + 1)
                for step_b in range(1, reach + 1)
                if self.under_way[a - step_a + reach, k - 1, n, d + step_a - step_b + reach]
                == value
            )
            columns.append((a, a + d - APART))
        return tuple(map(list, zip(*columns[::-1], strict=True)))


def align(alive: np.ndarray, m: int, reach: int) -> PairOfRows:
    """Sweeps the two rows `alive`, [2, columns] of bool, whose nodes reach `reach` columns far."""
    columns, width, most = alive.shape[1], 2 * APART + 1, alive.shape[1] // m
    apart = np.arange(width) - APART
    crosses = (apart != 0).astype(np.int16)
    row_b = np.pad(alive[1], APART)
    under_way = np.full((columns + reach, m, most + 1, width + 2 * reach), NEVER, np.int16)
    done = np.full((columns + 1, most + 1, width), NEVER, np.int16)
    done[0, 0] = 0
    for a in range(columns):
        here = under_way[a + reach, :, :, reach:-reach]
        both = alive[0, a] & row_b[a : a + width]
        if both.any():
            here[0] = done[a]
            for step_a in range(1, reach + 1):
                before = under_way[a + reach - step_a, :-1]
                for step_b in range(1, reach + 1):
                    first = reach + step_a - step_b
                    np.minimum(here[1:], before[:, :, first : first + width], out=here[1:])
            here += crosses
            here[:, :, ~both] = NEVER
        now = done[a + 1]
        now[:, :-1] = done[a, :, 1:]
        np.minimum(now, done[a], out=now)
        np.minimum(now[1:], here[-1, :-1], out=now[1:])
        np.minimum.accumulate(now, axis=1, out=now)
    return PairOfRows(done[columns, :, -1], under_way, done)
