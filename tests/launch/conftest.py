from pathlib import Path

import pytest
from tiny_command import run


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The workdir of a whole run of configs/tiny.py."""
    workdir = tmp_path_factory.mktemp("tiny")
    done = run(f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir
