"""What the README and the heads of configs say is true of the files beside them."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from parallel.show.fabric import fabric_svg
from stepjax.train.check import check

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PICTURE = ROOT / "parallel/show/rings.svg"
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))


def commands(text: str) -> list[str]:
    return re.findall(r"python -m launch\.\w+[^\n`|]*", text)


def test_the_picture_is_what_the_program_draws(update_golden):
    title = "Nodes 3 and 6 are lost: their neighbours reach across"
    drawn = fabric_svg(8, 2, 2, [(0, 1), (2, 4), (5, 7)], failed=(3, 6), title=title)
    if update_golden:
        PICTURE.write_text(drawn)
    assert PICTURE.read_text() == drawn


def test_ci_runs_the_test_command_of_the_readme():
    found = [line for line in README.splitlines() if "python -m pytest" in line]
    assert found[0].startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert "grep -m1 'python -m pytest' README.md" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("command", sorted(set(commands(README))))
def test_every_command_of_the_readme_names_files_that_exist(command):
    words = shlex.split(command.split("&&")[0])
    assert (ROOT / "launch" / f"{words[2].removeprefix('launch.')}.py").exists()
    for word in words[3:]:
        if word.startswith("--config="):
            assert (ROOT / word.removeprefix("--config=")).exists()


def test_every_file_of_the_tree_that_the_readme_names_is_there():
    named = re.findall(
        r"^((?:parallel|stepjax)/\w+|configs|launch|examples|tests) ", README, re.MULTILINE
    )
    assert len(named) > 12 and all((ROOT / name).is_dir() for name in named)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_begins_with_its_command_and_holds_together(name):
    module = importlib.import_module(f"configs.{name}")
    assert commands(module.__doc__), f"configs/{name}.py: the head has no command"
    config = module.get_config()
    if "model" in config:
        check(config)


def test_packages_have_a_page():
    packages = {
        path.parent
        for top in ("parallel", "stepjax")
        for path in (ROOT / top).glob("*/__init__.py")
    }
    assert [str(p) for p in sorted(packages) if not (p / "README.md").exists()] == []
