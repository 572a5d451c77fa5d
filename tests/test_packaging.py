"""What `pip install` brings: two packages with all their files, and all that they import."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTALLED = ("parallel", "stepjax")
MODULES = {"absl-py": "absl", "orbax-checkpoint": "orbax"}  # of packages with another name
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """The names of the files in the wheel, which is built without a network."""
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools >= 77 to build")
    clone = tmp_path_factory.mktemp("clone")
    for name in (*INSTALLED, "configs", "launch"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    subprocess.run(
        [sys.executable, "-c", BUILD], cwd=clone, check=True, capture_output=True, timeout=120
    )
    (built,) = (clone / "dist").glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_only_the_two_packages_are_installed(wheel):
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == set(INSTALLED)


def test_every_file_of_a_package_is_installed(wheel):
    files = {
        str(path.relative_to(ROOT))
        for name in INSTALLED
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - set(wheel) == set()


def names_of(requirements: list[str]) -> list[str]:
    return [re.match(r"[\w-]+", line)[0] for line in requirements]


def third_party(folder: str) -> set[str]:
    """Top-level names that the files of a folder import, and that are neither ours nor Python's."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {*INSTALLED, "configs", "launch"}


def test_every_package_that_is_imported_is_a_dependency_and_no_other():
    project = PYPROJECT["project"]
    needed, optional = (
        {MODULES.get(name, name.replace("-", "_")) for name in names_of(lines)}
        for lines in (project["dependencies"], project["optional-dependencies"]["parity"])
    )
    imported = set().union(*(third_party(folder) for folder in (*INSTALLED, "configs", "launch")))
    assert imported - optional == needed


def test_every_dependency_has_a_version_that_is_known_to_work():
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = names_of([*project["dependencies"], *extras["test"], *extras["dev"]])
    assert set(wanted) - pinned == set()
