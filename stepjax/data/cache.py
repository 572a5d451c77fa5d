"""Things that take long to make and are kept on disk, under a name that says all they were made
from.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

DEFAULT = "~/.cache/stepjax"
DIGEST_SIZE = hashlib.sha256().digest_size


def path(folder: str, name: str, *facts) -> Path:
    """Where the thing made from `facts` (whatever JSON can say) lies; "" stands for the default
    folder.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Path(folder or DEFAULT).expanduser() / f"{name}-{digest[:32]}"


def kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes kept at `path`; they are made, and kept, if they are absent or damaged.

    A file appears whole or not at all, so processes that make the same thing at once do no harm.
    """
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    content = stored[DIGEST_SIZE:]
    if hashlib.sha256(content).digest() == stored[:DIGEST_SIZE]:
        return content
    content = make()
    try:
        _write(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}): name another cache folder."
        ) from error
    return content


def digest(path: Path) -> str:
    """The SHA-256 of a file's content, in hex.

    Raises: OSError.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
