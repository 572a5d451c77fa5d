"""Two rows are aligned as well as trying every set after every other does."""

from functools import cache

import numpy as np

from parallel.fabric.alignment import NEVER, align


def paths_ref(alive: np.ndarray, start: int, m: int, reach: int) -> list[tuple[int, ...]]:
    """Every group of one row that begins at `start` or behind it."""
    paths = [(column,) for column in range(start, alive.size) if alive[column]]
    for _ in range(m - 1):
        paths = [
            (*path, column)
            for path in paths
            for column in range(path[-1] + 1, min(alive.size, path[-1] + reach + 1))
            if alive[column]
        ]
    return paths


def align_ref(alive: np.ndarray, m: int, reach: int) -> dict[int, int]:
    """The fewest crossing ranks of n sets, by trying every set after every other."""

    @cache
    def best(a: int, b: int) -> dict[int, int]:
        fewest = {0: 0}
        for group_a in paths_ref(alive[0], a, m, reach):
            for group_b in paths_ref(alive[1], b, m, reach):
                crossing = sum(x != y for x, y in zip(group_a, group_b, strict=True))
                for n, rest in best(group_a[-1] + 1, group_b[-1] + 1).items():
                    fewest[n + 1] = min(fewest.get(n + 1, NEVER), crossing + rest)
        return fewest

    return best(0, 0)


def test_two_rows_are_aligned_as_well_as_can_be():
    random = np.random.default_rng(0)
    for _ in range(40):
        columns, m, reach = (
            random.integers(2, 10),
            int(random.integers(1, 4)),
            int(random.integers(1, 4)),
        )
        alive = random.random((2, columns)) > random.random() / 2
        sweep = align(alive, m, reach)
        fewest = {n: int(crossing) for n, crossing in enumerate(sweep.crossing) if crossing < NEVER}
        assert fewest == align_ref(alive, m, reach)
        for n, crossing in fewest.items():
            sets = sweep.sets(n)
            assert len(sets) == n
            assert sum(x != y for a, b in sets for x, y in zip(a, b, strict=True)) == crossing


def test_one_fault_costs_one_node_of_the_other_row_and_no_crossing():
    alive = np.ones((2, 9), bool)
    alive[0, 3] = False
    sweep = align(alive, m=4, reach=2)
    assert sweep.crossing.tolist() == [0, 0, 0]
    assert sweep.sets(2) == [([0, 1, 2, 4], [0, 1, 2, 4]), ([5, 6, 7, 8], [5, 6, 7, 8])]
    assert align(alive, m=8, reach=2).crossing.tolist() == [0, 0]
    alive[1, 5] = False
    assert align(alive, m=8, reach=2).crossing.tolist() == [0, 2]


def test_the_worked_example():
    alive = np.array([[1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 1]], bool)
    sweep = align(alive, m=3, reach=2)
    assert sweep.sets(1) == [([0, 2, 3], [0, 2, 3])]
    assert sweep.sets(2) == [([0, 2, 3], [0, 1, 2]), ([4, 5, 6], [3, 4, 6])]
