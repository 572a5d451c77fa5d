"""Where the processes of a run on several machines meet, as a command line says it."""

import os

from parallel.elastic.processes import Meeting

KEY = "STEPJAX_KEY"  # in the environment: a command line can be read by everybody


def at(address: str) -> Meeting:
    """The meeting at HOST:PORT. Raises ValueError, in one sentence."""
    host, _, port = address.rpartition(":")
    if host in ("", "0.0.0.0") or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(
            f"--address={address!r}: HOST:PORT by which others reach the supervisor is wanted."
        )
    if len(key := os.environ.get(KEY, "")) < 16:
        raise ValueError(
            f"the environment variable {KEY} holds {len(key)} characters, and at least 16 are "
            "wanted: a secret by which the processes of a run know each other, the same for all, "
            "such as `openssl rand -hex 32` gives."
        )
    return Meeting((host, int(port)), key.encode())
