"""What a run leaves behind in its process."""

import gc
import threading
from collections.abc import Collection

# seconds: Python's own pools end their threads when they are collected, a moment after their last
# use
LIMIT = 10


def left_behind(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """Threads that were not there before and do not end by themselves."""
    gc.collect()
    new = [thread for thread in threading.enumerate() if thread not in before]
    for thread in new:
        thread.join(LIMIT)
    return [thread for thread in new if thread.is_alive()]
