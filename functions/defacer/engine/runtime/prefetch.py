"""Work ahead: let a thread make the next items while the caller is busy with the last one."""

from collections.abc import Generator
from contextvars import copy_context
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
PATIENCE_SECONDS = 0.1  # how soon the thread notices that nobody wants more


def prefetch(items: Generator[Item], most: int) -> Generator[Item]:
    """Give `items` in order, up to `most` of them made ahead by a thread of their own.

    What they raise is raised here. When the caller stops early the thread ends, and `items` is closed by it.
    """
    made: Queue[tuple[bool, Item | BaseException | None]] = Queue(most)
    enough = Event()

    def put(more: bool, item: Item | BaseException | None) -> bool:
        while not enough.is_set():
            try:
                made.put((more, item), timeout=PATIENCE_SECONDS)
            except Full:
                continue
            return True
        return False

    def make() -> None:
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

    thread = Thread(target=copy_context().run, args=(make,), name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, item = made.get()
            if isinstance(item, BaseException):
                raise item
            if not more:
                return
            yield item  # type: ignore[misc]
    finally:
        enough.set()
        thread.join()
