"""What takes long to make is kept on disk, under a name that says all it was made from."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from stepjax.data import paths
from stepjax.disk import files

DEFAULT = "~/.cache/stepjax"
BLOCK = 2**20  # bytes that are read at once
DIGEST_SIZE = hashlib.sha256().digest_size


def path(folder: str, name: str, *facts) -> Path:
    """Where the thing made from `facts` (in JSON) lies; "" stands for the default folder."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    what = f"cache={folder!r}" if folder else f"cache is not set, and its default, {DEFAULT},"
    return paths.local(what, folder or DEFAULT) / f"{name}-{digest[:32]}"


def kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes kept at `path`; they are made, and kept, if they are absent or damaged."""
    content = recalled(path)
    if content is None:
        content = make()
        keep(path, content)
    return content


def recalled(path: Path) -> bytes | None:
    """The bytes kept at `path`; None if they are absent or damaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    content = stored[DIGEST_SIZE:]
    return content if hashlib.sha256(content).digest() == stored[:DIGEST_SIZE] else None


def keep(path: Path, content: bytes) -> None:
    """A file appears whole or not at all, so processes that keep the same thing do no harm.

    Raises: files.Unwritable, a ValueError.
    """
    files.replace(path, hashlib.sha256(content).digest() + content)


def digest(path: str | Path) -> str:
    """The size of a file, and the SHA-256 of its content in hex.

    Raises: OSError.
    """
    found, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            found.update(block)
            size += len(block)
    return f"{size} {found.hexdigest()}"
