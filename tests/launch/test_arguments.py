"""The command line: what it gives to `main`, and a sentence for each mistake."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch import arguments

ROOT = Path(__file__).parents[2]
FLAGS = {"config": ("configs/tiny.py", "What."), "workdir": ("runs/tiny", "Where.")}


def read(*argv: str, words: str = "", flags: dict = FLAGS) -> dict:
    return arguments.read(["prog", *argv], "Does it.", words, flags)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_value_of_the_config_is_changed_in_both_spellings():
    assert read("--config.steps=77")["config"].steps == 77
    assert read("--config.steps", "78", "--workdir", "a")["config"].steps == 78
    assert read("-config.data.speed=150,160")["config"].data.speed == (150, 160)


def test_words_go_to_those_who_take_them_and_text_flags_stay_text():
    flags = {"run": ("runs/a", "Which."), "heldout": (False, "Whether.")}
    found = read("a.wav", "--heldout", "--run=b", "--", "-c.wav", words="paths", flags=flags)
    assert found == {"run": "b", "heldout": True, "paths": ["a.wav", "-c.wav"]}


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as ended:
        read("--help", "--config=none.py")
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == (
        ["Does", "it.", "--config=configs/tiny.py", "What.", "--workdir=runs/tiny", "Where."]
    )


def test_a_home_folder_is_written_as_a_tilde(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    shutil.copy(ROOT / "configs/tiny.py", here / "mine.py")
    found = read("--config=~/mine.py", "--workdir=~/runs/a")
    assert found["workdir"] == here / "runs/a" and found["config"].steps == 8
    assert list(here.iterdir()) == [here / "mine.py"]  # the folder is not made yet


def test_configs_of_the_project_are_found_from_any_folder(here):
    assert read()["config"].steps == 8


def test_a_config_may_take_a_word(here):
    (here / "c.py").write_text(
        "from ml_collections import ConfigDict\n\n"
        "def get_config(size):\n    return ConfigDict({'size': size})\n"
    )
    assert read("--config=c.py:large")["config"].size == "large"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["quickstart"], "'quickstart' belongs to no flag: write --name=value, as in --config=con"),
        (["--wrkdir=a"], "there is no flag --wrkdir: use --workdir."),
        (["--x"], "there is no flag --x: use --config or --workdir."),
        (["-h"], "there is no flag --h: use --config or --workdir."),
        (["--workdir"], "Missing value for flag --workdir"),
        (["--workdir="], "--workdir is empty: give a path."),
        (["--workdir=gs://bucket/a"], "--workdir=gs://bucket/a is an address on a network"),
        (["--workdir=https://a.b/c"], "is an address on a network"),
        (["--workdir=~no-such-user/a"], "~no-such-user is no home folder here"),
        (["--workdir=file/a/b"], "/file is a file, and a folder is wanted there"),
        (["--workdir=file"], "/file is a file, and a folder is wanted there"),
        (["--workdir=broken/a"], "/broken is a file, and a folder is wanted there"),
        (["--config=none.py"], "--config=none.py: there is no file none.py."),
        (["--config=folder"], "there is no file folder."),
        (["--config=file"], "--config=file: a config is a Python file, NAME.py."),
        (["--config="], "--config is empty: give a path."),
        (["--config=https://a.b/c.py"], "is an address on a network"),
        (["--config=~no-such-user/c.py"], "~no-such-user is no home folder here"),
        (["--config=syntax.py"], "syntax.py: SyntaxError: .*line 2"),
        (["--config=fails.py"], "--config=fails.py: line 3: NameError: name 'c' is not defined."),
        (["--config=leaves.py"], "--config=leaves.py: line 1: SystemExit: 3."),
        (["--config=nothing.py"], "AttributeError: .* has no attribute 'get_config'"),
        (["--config=dict.py"], "gives dict, not ml_collections.ConfigDict"),
        (["--config.stps=3"], "the config has no field stps: use steps."),
        (["--config.data.microbach=2"], "no field data.microbach: use data.microbatch."),
        (["--config.steps.more=2"], "the config has no field steps.more."),
        (["--config.=2"], "the config has no field "),
        (["--config.steps=abc"], "--config.steps=abc: invalid literal for int"),
        (["--config.steps"], "Missing value for flag --config.steps"),
        (["--config.model=3"], "--config.model=3: "),
    ],
)
def test_a_mistake_is_one_sentence(argv, message, here):
    (here / "file").write_text("")
    (here / "folder").mkdir()
    (here / "broken").symlink_to("nowhere")
    (here / "syntax.py").write_text("\ndef get_config(:\n")
    (here / "fails.py").write_text("def get_config():\n    pass\n    return c\n")
    (here / "leaves.py").write_text("raise SystemExit(3)\n")
    (here / "nothing.py").write_text("")
    (here / "dict.py").write_text("def get_config():\n    return {}\n")
    with pytest.raises(ValueError, match=message) as refused:
        read(*argv)
    assert len(str(refused.value).splitlines()) == 1


def as_nobody(*argv: str) -> subprocess.CompletedProcess:
    """A command of a user without a name, a home folder, or a right to write; reading is free, so
    that any interpreter can be used.
    """
    caps = "-all,+dac_read_search"
    user = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", f"--inh-caps={caps}",
            f"--ambient-caps={caps}", f"--bounding-set={caps}")  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    command = [*user, sys.executable, "-m", *argv]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


becomes_nobody = pytest.mark.skipif(
    not shutil.which("setpriv") or os.getuid() != 0, reason="only root can become somebody else"
)


@becomes_nobody
def test_a_folder_without_the_right_to_write_is_refused(tmp_path):
    tmp_path.chmod(0o755)
    refused = as_nobody("launch.simulate", "--experiment=movie", f"--workdir={tmp_path}/a/b")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
    assert f"nothing may be written to {tmp_path}: name another folder." in refused.stderr


@becomes_nobody
def test_a_user_without_a_home_folder_is_told_to_give_the_whole_path():
    refused = as_nobody("launch.simulate", "--experiment=movie", "--workdir=~/a")
    assert refused.returncode == 2
    assert refused.stderr == "--workdir=~/a: ~ is no home folder here: give the whole path.\n"
