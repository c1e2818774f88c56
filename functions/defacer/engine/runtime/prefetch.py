"""Run work in threads ahead of the caller, and return its results in order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")
POLL_SECONDS = 0.1  # how often the prefetch thread checks whether the caller has stopped
MAX_THREADS = 4  # each thread keeps one item in memory
MAX_AHEAD = 16  # results that wait for the result of an earlier item


def prefetch(items: Generator[Item], max_items: int) -> Generator[Item]:
    """Yield `items` in order while a thread produces up to `max_items` of them ahead.

    An error of the generator is raised here. When the caller stops early, the thread closes `items` and ends.
    """
    queue: Queue[tuple[bool, Item | BaseException | None]] = Queue(max_items)
    stopped = Event()

    def put(has_item: bool, item: Item | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                queue.put((has_item, item), timeout=POLL_SECONDS)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(True, item):
                    break
            else:
                put(False, None)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            put(False, error)
        finally:
            items.close()

    thread = Thread(target=copy_context().run, args=(produce,), name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            has_item, item = queue.get()
            if isinstance(item, BaseException):
                raise item
            if not has_item:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


def map_ordered(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    """Yield `work(item)` for each item, in the order of `items`; at most `threads` + 1 items are in work.

    An item is released as soon as its work is done. While one item takes long, the threads work on up to MAX_AHEAD
    further items. An error of `work` is raised here. No work continues after the generator ends.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "engine") as pool:
        try:
            for item in items:
                pending.append(pool.submit(copy_context().run, work, item))
                del item
                while len(unfinished := [future for future in pending if not future.done()]) > threads:
                    wait(unfinished, return_when=FIRST_COMPLETED)
                while pending and (pending[0].done() or len(pending) > MAX_AHEAD):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def usable_threads() -> int:
    """Return how many threads of this process can compute at the same time, at most MAX_THREADS."""
    if hasattr(os, "sched_getaffinity"):
        return min(MAX_THREADS, len(os.sched_getaffinity(0)))
    return min(MAX_THREADS, os.cpu_count() or 1)


def limit_opencv() -> None:
    """Make OpenCV run each call in the caller's thread only.

    The engine's own threads keep all cores busy. A call that shares its work waits until another thread gets a core.
    """
    cv2.setNumThreads(1)
