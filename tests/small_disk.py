"""A disk that is soon full: a real one of a few hundred kB, where the system allows to mount it."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

KB = 1024


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mounts a disk of `size` bytes at `folder`."""
    folder.mkdir()
    _mount(f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=60)


def grow(folder: Path, size: int) -> None:
    _mount(f"remount,size={size}", "tmpfs", folder)


def fill(folder: Path, leave: int = 0) -> Path:
    """Takes all room but `leave` bytes away; unlinking the file that it returns gives it back."""
    hog = folder / "hog"
    with contextlib.suppress(OSError), open(hog, "wb", buffering=0) as file:
        while file.write(bytes(4 * KB)):
            pass
    with open(hog, "ab") as file:
        file.truncate(max(0, hog.stat().st_size - leave))
    return hog


def _mount(options: str, *what) -> None:
    try:
        command = ["mount", "-t", "tmpfs", "-o", options, *map(str, what)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
