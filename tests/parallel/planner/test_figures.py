"""Figures: the planner draws files, and leaves the matplotlib of whoever imports it alone."""

import subprocess
import sys
from pathlib import Path

from parallel.fabric.orchestration import ALGORITHMS
from parallel.planner.figures import look
from parallel.planner.replay import contenders

ROOT = Path(__file__).parents[3]


def test_every_line_can_be_told_from_the_others_in_grey():
    for names in (contenders([2, 3]), ALGORITHMS):
        assert len({(look(n).marker, look(n).dash, look(n).width) for n in names}) == len(names)
    assert look("khop4").label == "K-hop ring, K = 4"


def test_the_planner_sets_no_backend_and_opens_no_window():
    code = (
        "import sys, matplotlib; matplotlib.use = None; import parallel.planner.simulate;"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
