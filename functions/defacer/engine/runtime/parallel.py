"""Do several items at once, in threads, and take the results in order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_THREADS = 4  # each has an item in memory


def usable_threads() -> int:
    """How many threads can compute at once on this machine."""
    return min(
        MAX_THREADS,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def limit_opencv() -> None:
    """Let each call of OpenCV work in the caller's thread alone.

    The engine's own threads keep all cores busy. A call that shares its work waits until another thread gets a core.
    """
    cv2.setNumThreads(1)


def map_ordered(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    """What `work` makes of each item, in the order of `items`, of which one more than `threads` is ahead.

    An item is let go as soon as its work is done. What `work` raises is raised here, and nothing that was begun
    goes on when this ends.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "engine") as pool:
        try:
            for item in items:
                pending.append(pool.submit(copy_context().run, work, item))
                del item
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
