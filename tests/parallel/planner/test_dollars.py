"""Cost: the table, and idle GPUs that have to be paid for."""

import pytest

from parallel.planner.dollars import cost, crossing
from parallel.planner.worlds import Cluster


def test_rows_hold_the_table_and_grow_with_faults():
    rows = cost(Cluster(720), 32, [2, 3], [0.0, 0.1, 0.2], 2, 0, gpu_dollars=28_000)
    found = {row.architecture: row for row in rows}
    assert list(found) == ["khop2", "khop3", "nvl36", "nvl72", "nvl576", "tpuv4"]
    assert (
        round(found["khop2"].dollars_per_gbps, 2) == 3.28
        and round(found["khop2"].of_nvl72, 2) == 0.31
    )
    for row in rows:
        assert row.aggregate_dollars_per_gpu == tuple(sorted(row.aggregate_dollars_per_gpu))
        assert row.aggregate_dollars_per_gpu[1] >= row.dollars_per_gpu + 2_800
    assert found["khop3"].aggregate_dollars_per_gpu[2] < found["khop2"].aggregate_dollars_per_gpu[2]


def test_lines_cross_where_they_do():
    assert crossing([0.0, 1.0], [1.0, 2.0], [2.0, 1.0]) == pytest.approx(0.5)
    assert crossing([0.0, 1.0], [1.0, 2.0], [2.0, 3.0]) is None
    assert crossing([0.0, 1.0], [2.0, 2.0], [1.0, 3.0]) is None  # it becomes dearer, not cheaper
