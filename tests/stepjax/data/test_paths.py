import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from stepjax.data import cache, paths
from stepjax.data.sources import open_source

ADDRESSES = ["https://host/a.wav", "s3://bucket/a", "gs://b/c", "file:///tmp/a", "HTTP://HOST"]


def test_a_path_is_itself_and_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    for written, meant in [
        ("a/b.wav", "a/b.wav"),
        ("/a b.wav", "/a b.wav"),
        ("~/a", "/home/ann/a"),
        ("~", "/home/ann"),
        ("a~b", "a~b"),
        ("C:/a", "C:/a"),
        ("12:30//a", "12:30//a"),
    ]:
        assert paths.local("it", written) == Path(meant)


@pytest.mark.parametrize(
    "written, message",
    [
        *[
            (
                address,
                "it is an address, and only files of this machine are read: download it and",
            )
            for address in ADDRESSES
        ],
        ("a\0b", "it holds the character NUL, which no path can"),
        ("a\ud83db", "it holds half a character, U+D83D"),
        (
            "~nobody-of-this-name/a",
            "it begins with the home folder of a user who does not exist: write the whole",
        ),
    ],
)
def test_what_is_no_path_here_is_refused(written, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        paths.local("it", written)


@pytest.mark.parametrize("written", [*ADDRESSES, "~nobody-of-this-name/a", "a\0b"])
def test_every_path_of_the_config_is_checked(written):
    for kind in ("manifest", "fsdd"):
        config = ConfigDict(
            {
                "kind": kind,
                kind: written,
                "heldout_below": 2,
                "seed": 0,
                "utterances": 2,
                "max_digits": 4,
                "gap_seconds": (0.0, 0.0),
                "max_seconds": 3.0,
                "augment": {},
                "heldout_share": 0.1,
            }
        )
        with pytest.raises(
            ValueError, match=f"^{re.escape(f'{kind}={written!r}')} (is|holds|begi)"
        ):
            open_source(config, "train")
    with pytest.raises(ValueError, match=f"^{re.escape(f'cache={written!r}')} (is|holds|begins)"):
        cache.path(written, "thing")
