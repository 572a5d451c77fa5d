"""Folders that appear whole or not at all, and that know when they were damaged.

A sealed folder holds checksums.json: the SHA-256 of every other file in it. It is written under the
name NAME.partial and renamed last, so a folder with its own name is one that was finished.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from stepjax.disk.files import sync, writing

CHECKSUMS = "checksums.json"
PARTIAL = ".partial"  # ends the name of a folder that is being written, or removed


class Damaged(ValueError):
    """Something on the disk is not what was written."""


@contextlib.contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """Yields an empty folder to write into, which becomes `path` at the end.

    Raises: Unwritable; nothing is left behind then.
    """
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            hashes = {name: _digest(partial / name) for name in _files(partial)}
            (partial / CHECKSUMS).write_bytes(_encoded(hashes))
            for folder, _, names in os.walk(partial):
                for name in (*names, "."):
                    sync(Path(folder, name))
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync(path.parent)


def verify(path: Path) -> None:
    """Holds every file of a sealed folder against its checksum.

    Raises: Damaged, which names the first file that is not as it was written.
    """
    if not path.is_dir():
        raise Damaged(f"{path} is missing")
    hashes = _hashes(path)
    for name, wanted in hashes.items():
        try:
            found = _digest(path / name)
        except FileNotFoundError:
            raise Damaged(f"{path / name} is missing") from None
        except OSError as error:
            raise Damaged(f"{path / name} cannot be read ({error.strerror})") from error
        if found != wanted:
            raise Damaged(f"{path / name} is not what was written")


def digest(path: Path) -> str:
    """One hash for all that a sealed folder holds."""
    return _digest(path / CHECKSUMS)


def remove(path: Path) -> None:
    """Removes a folder, which loses its name first, so that a crash leaves no part under it."""
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        shutil.rmtree(partial, ignore_errors=True)
        path.rename(partial)
        shutil.rmtree(partial)


def _hashes(path: Path) -> dict[str, str]:
    try:
        content = (path / CHECKSUMS).read_bytes()
        hashes = json.loads(content)
    except FileNotFoundError:
        raise Damaged(f"{path / CHECKSUMS} is missing") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"{path / CHECKSUMS} is not what was written") from error
    if not isinstance(hashes, dict) or _encoded(hashes) != content:
        raise Damaged(f"{path / CHECKSUMS} is not what was written")
    return hashes


def _encoded(hashes: dict[str, str]) -> bytes:
    return (json.dumps(hashes, indent=1) + "\n").encode()


def _files(folder: Path) -> list[str]:
    """Paths of all files below a folder, without its checksums."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for path in files if (name := path.relative_to(folder).as_posix()) != CHECKSUMS]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
