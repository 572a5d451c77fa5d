"""Paths as people write them."""

import re
from pathlib import Path

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def local(what: str, written: str) -> Path:
    """The path `written`, in which a leading ~ stands for a home folder.

    Args:   what: how the path is called in an error.
    Raises: ValueError for an address on a network, an unknown user, and what no path can hold.
    """
    if ADDRESS.match(written):
        raise ValueError(
            f"{what} is an address, and only files of this machine are read: download it and "
            "name the copy"
        )
    if "\0" in written:
        raise ValueError(f"{what} holds the character NUL, which no path can")
    if (half := half_character(written)) is not None:
        raise ValueError(f"{what} holds half a character, {half}")
    try:
        return Path(written).expanduser()
    except RuntimeError as error:  # what pathlib raises
        raise ValueError(
            f"{what} begins with the home folder of a user who does not exist: write the whole path"
        ) from error


def half_character(text: str) -> str | None:
    r"""The first lone surrogate of a text, which UTF-8 cannot say.

    >>> half_character("ab"), half_character("a\ud83d")
    (None, 'U+D83D')
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"U+{ord(text[error.start]):04X}"
    return None
