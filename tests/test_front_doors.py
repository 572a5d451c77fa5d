"""What packages offer by name: all of it, in order, documented, and where promised without jax."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOORS = ["parallel.fabric", "parallel.spmd", "parallel.elastic", "stepjax", "stepjax.train"]
LAZY = ["stepjax", "stepjax.train"]


def source(door: str) -> str:
    return (ROOT / door.replace(".", "/") / "__init__.py").read_text()


def headings(door: str) -> dict[str, list[str]]:
    """The names that a door lists under each of its comments."""
    found: dict[str, list[str]] = {}
    listed = re.search(r"^(?:__all__ = \[|_HOMES = \{)\n(.*?)^[\]}]", source(door), re.S | re.M)
    for line in listed[1].splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            names = found[comment[1]] = []
        else:
            names.append(re.match(r'    "(\w+)"', line)[1])
    return found


def imported(door: str) -> set[str]:
    """The names that a door imports of ours."""
    return {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(source(door)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.".startswith(("parallel.", "stepjax."))
    }


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_is_there_and_documented(door):
    package = importlib.import_module(door)
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            assert value.__doc__, f"{door}.{name} has no docstring"
            assert not value.__doc__.startswith(f"{name}("), f"{door}.{name} has no docstring"


@pytest.mark.parametrize("door", DOORS)
def test_what_is_imported_is_what_is_offered(door):
    package = importlib.import_module(door)
    assert sorted(package.__all__) == sorted(imported(door))
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("door", DOORS)
def test_names_are_in_order_under_headings(door):
    listed = headings(door).values()
    assert all(names == sorted(names) for names in listed)
    assert [name for names in listed for name in names] == importlib.import_module(door).__all__


@pytest.mark.parametrize("door", DOORS)
def test_no_name_hides_a_file(door):
    """Such a name would stand for the file or for what is in it, by the order of imports."""
    package = importlib.import_module(door)
    files = {path.stem for path in (ROOT / door.replace(".", "/")).iterdir()}
    hiding = [name for name in package.__all__ if name in files]
    assert all(inspect.ismodule(getattr(package, name)) for name in hiding)


@pytest.mark.parametrize("door", LAZY)
def test_type_checkers_are_told_where_a_lazy_name_comes_from(door):
    package = importlib.import_module(door)
    told = {
        alias.asname: node.module
        for block in ast.parse(source(door)).body
        if isinstance(block, ast.If)
        for node in block.body
        for alias in node.names
    }
    assert told == package._HOMES


@pytest.mark.parametrize("door", LAZY)
def test_an_unknown_name_is_an_attribute_error(door):
    with pytest.raises(AttributeError, match=f"module '{door}' has no attribute 'trian'"):
        importlib.import_module(door).trian  # noqa: B018


@pytest.mark.parametrize("door", ["parallel.fabric", "parallel.planner", "parallel.show", *LAZY])
def test_jax_is_not_imported(door):
    program = f"import sys, {door}; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("door", DOORS)
def test_a_star_imports_what_is_offered(door):
    names: dict[str, object] = {}
    exec(f"from {door} import *", names)
    assert names.keys() - {"__builtins__"} == set(importlib.import_module(door).__all__)


def test_every_package_says_what_it_is():
    tops = ("parallel", "stepjax", "configs", "launch")
    packages = [path for top in tops for path in (ROOT / top).rglob("__init__.py")]
    assert len(packages) > 16
    assert [
        str(path) for path in packages if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []
