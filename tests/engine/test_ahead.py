"""Items made ahead by a thread: all of them, in order, and nothing left behind when the caller stops."""

import threading
from collections.abc import Generator

import pytest

from defacer.engine.runtime.prefetch import prefetch


class Source:
    """Counts to `last`, raises there if asked to; knows how far it came and whether it was closed."""

    def __init__(self, last: int, error: Exception | None = None):
        self.last, self.error, self.made, self.closed = last, error, 0, False

    def items(self) -> Generator[int]:
        try:
            for item in range(1, self.last + 1):
                self.made = item
                yield item
            if self.error:
                raise self.error
        finally:
            self.closed = True


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_all_items_come_in_order() -> None:
    source = Source(100)
    assert list(prefetch(source.items(), 3)) == list(range(1, 101))
    assert source.closed
    assert not threads()


def test_an_error_comes_after_the_items_before_it() -> None:
    source = Source(5, error=ValueError("damaged"))
    seen = []
    with pytest.raises(ValueError, match="damaged"):
        for item in prefetch(source.items(), 2):
            seen.append(item)
    assert seen == [1, 2, 3, 4, 5]
    assert not threads()


def test_stopping_early_ends_the_thread_and_closes_the_source() -> None:
    source = Source(1_000_000)
    items = prefetch(source.items(), 4)
    assert next(items) == 1
    items.close()
    assert source.closed
    assert source.made <= 7
    assert not threads()
