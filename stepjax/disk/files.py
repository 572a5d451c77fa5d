"""Files that appear whole or not at all, and what a full disk becomes: one sentence.

Content is written beside its place, brought to the disk (fsync) and renamed. So a reader, or a
process that starts after a crash, finds the old content or the new one, never a part.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Unwritable(ValueError):
    """A full disk, or a folder that may not be written to."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses meanwhile becomes Unwritable, which names `path`."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{path} cannot be written ({error.strerror or error}): make room there, or name "
            "another folder; what was saved before is whole."
        ) from error


def replace(path: Path, content: bytes | str) -> None:
    """Makes `path` a file with this content (text as UTF-8), at once.

    Raises: Unwritable; what was there before is still there then.
    """
    content = content.encode() if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        try:
            with open(beside, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync(path.parent)


def sync(path: Path) -> None:
    """Brings a file's content, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises: ValueError, in one sentence, if it is not there or was cut off.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged, since it is not whole JSON ({error}): put back a copy of it, or "
            "use another folder."
        ) from error
