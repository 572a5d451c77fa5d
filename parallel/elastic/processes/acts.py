"""What a node does to itself where the fault plan says so."""

import ctypes
import os
import signal
import time
from typing import NoReturn

import jax

FAILURES = {"lose": signal.SIGKILL, "stop": signal.SIGSTOP, "crash": signal.SIGSEGV}
DRAG_S = 0.5  # by which a slow node takes longer
NEVER_S = 3600  # longer than a node that acts out its end is there


def flip(x: jax.Array) -> None:
    """Changes a bit of the first shard here, in the memory of the device, which is the host's."""
    at = x.addressable_shards[0].data.unsafe_buffer_pointer()
    ctypes.c_uint8.from_address(at).value ^= 1 << 6


def fail(kind: str) -> NoReturn:
    """Ends this process, or stops it, as a kind of fault does."""
    os.kill(os.getpid(), FAILURES[kind])
    time.sleep(NEVER_S)  # the signal may take a moment
    raise AssertionError("unreachable")
