"""CONTRIBUTING.md names files and commands that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| a")]


def test_every_row_names_a_file_to_open_first():
    assert len(ROWS) >= 12
    assert [row for row in ROWS if not re.match(r"\| an? [^|]+ \| `[\w/.]+`", row)] == []


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"`([\w./]+/[\w.]+|[A-Z]+\.md)`", PAGE)) - {
        "a/b.py",
        "tests/a/test_b.py",
    }
    assert len(named) > 25
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


def test_its_commands_run_what_is_there():
    (folders,) = re.findall(r"python -m pytest (\S+ \S+)", PAGE)
    assert all((ROOT / folder).is_dir() for folder in folders.split())
    assert (ROOT / ".ci/run").stat().st_mode & 0o100
    assert "-e '.[test,dev]'" in PAGE


def test_the_changelog_begins_with_what_is_unreleased():
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", line) for line in headings[1:])
