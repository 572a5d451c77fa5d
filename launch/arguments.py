"""The command line as its users type it: flags, a config file and what is changed in it, a folder.

--config=configs/X.py                 a file with a function get_config() -> ConfigDict
--config.part.field=value             another value for one field of it
--workdir=DIR                         where results go; it is made when the job begins
"""

import difflib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl
from ml_collections import ConfigDict, config_flags

ROOT = Path(__file__).parents[1]
Flags = Mapping[str, tuple[str | bool, str]]  # default and help text by name
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def read(argv: Sequence[str], doc: str, words: str, flags: Flags) -> dict[str, Any]:
    """The arguments of a command's `main`; see `command.run`. `doc` opens what --help prints.

    Raises: ValueError, in one sentence. SystemExit when only help was asked for.
    """
    found, rest = _flags(argv, flags)
    if found.pop("help"):
        print(doc)
        print(
            "\n".join(
                f"  --{name}={default}\n      {words}" for name, (default, words) in flags.items()
            )
        )
        sys.exit(0)
    config = load(found["config"]) if "config" in flags else None
    config, rest = override(config, rest, flags)
    if rest and not words:
        usual = " ".join(f"--{name}={default}" for name, (default, _) in flags.items())
        raise ValueError(f"{rest[0]!r} belongs to no flag: write --name=value, as in {usual}.")
    if "config" in flags:
        found["config"] = config
    if "workdir" in flags:
        found["workdir"] = folder(found["workdir"])
    if words:
        found[words] = rest
    return found


def _flags(argv: Sequence[str], flags: Flags) -> tuple[dict[str, Any], list[str]]:
    """What the flags are set to, `help` among them, and the rest of the command line."""
    absl.FLAGS(argv[:1])  # libraries that ask for flags of their own get the defaults
    values = absl.FlagValues()
    values.set_gnu_getopt(True)
    for name, (default, words) in {**flags, "help": (False, "")}.items():
        define = absl.DEFINE_bool if isinstance(default, bool) else absl.DEFINE_string
        define(name, default, words, values)
    try:
        rest = values(argv, known_only=True)
    except absl.Error as error:
        raise ValueError(_ended(error)) from error
    return {name: values[name].value for name in (*flags, "help")}, rest


def _ended(error: Exception) -> str:
    return f"{str(error).rstrip('.')}."


def load(text: str) -> Any:
    """The config of FILE, or of FILE:WORD for a get_config that takes a word. A file that is not in
    the current folder is looked for beside this package.
    """
    name, *word = text.split(":", 1) if not ADDRESS.match(text) else [text]
    path = local("--config", name)
    if not path.exists() and (ROOT / path).exists():
        path = ROOT / path
    if not path.is_file():
        raise ValueError(f"--config={text}: there is no file {path}.")
    if path.suffix != ".py":
        raise ValueError(f"--config={text}: a config is a Python file, NAME.py.")
    try:
        spec = importlib.util.spec_from_file_location("the_config", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config(*word)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"--config={text}: {_place(error, path)}{type(error).__name__}: {error}."
        ) from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"--config={text}: get_config() gives {type(config).__name__}, not "
            "ml_collections.ConfigDict."
        )
    return config


def _place(error: BaseException, path: Path) -> str:
    """Where in the config file it went wrong."""
    steps = traceback.extract_tb(error.__traceback__)
    lines = [step.lineno for step in steps if step.filename == str(path.absolute())]
    return f"line {lines[-1]}: " if lines else ""


def override(config: Any, argv: Sequence[str], flags: Flags) -> tuple[Any, list[str]]:
    """The config, if there is one, with what `--config.part.field=value` says, and the words that
    are no flags.
    """
    values = absl.FlagValues()
    values.set_gnu_getopt(True)
    if config is not None:
        for word in argv:
            if field := re.match("--?config[.]([^=]*)", word):
                _check_field(config, field[1])
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=list(argv))
    try:
        words = values(argv)[1:]
    except absl.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, flags, 1) or flags
        use = " or ".join(f"--{name}" for name in near)
        raise ValueError(f"there is no flag --{error.flagname}: use {use}.") from error
    except (absl.Error, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(_ended(error)) from error
    return config, words


def _check_field(config: Any, name: str) -> None:
    """Refuses the dotted name of a field that the config does not have."""
    part, before = config, ""
    for key in name.split("."):
        names = list(part.keys()) if hasattr(part, "keys") else []
        if key not in names:
            near = difflib.get_close_matches(key, names, 1) or names
            hint = f": use {' or '.join(before + name for name in near)}" if near else ""
            raise ValueError(f"the config has no field {before}{key}{hint}.")
        part, before = part[key], f"{before}{key}."


def local(flag: str, text: str) -> Path:
    """A path on this machine, with ~ for a home folder."""
    if not text:
        raise ValueError(f"{flag} is empty: give a path.")
    if ADDRESS.match(text):
        raise ValueError(f"{flag}={text} is an address on a network: give a path on this machine.")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError(
            f"{flag}={text}: {text.split('/')[0]} is no home folder here: give the whole path."
        )
    return Path(path)


def folder(text: str) -> Path:
    """The folder `--workdir` names, which is there or can be made.

    It is not made here: a job that is refused leaves no folder.
    """
    path = local("--workdir", text)
    whole = path.absolute()
    there = next(place for place in (whole, *whole.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise ValueError(f"--workdir={text}: {there} is a file, and a folder is wanted there.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"--workdir={text}: nothing may be written to {there}: name another folder."
        )
    return path
