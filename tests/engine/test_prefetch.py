"""Test work that threads do ahead of the caller: the order, errors, and that no thread is left."""

import threading
import weakref
from collections.abc import Generator, Iterator

import pytest

from defacer.engine.runtime.prefetch import MAX_AHEAD, map_ordered, prefetch
from tests.servers import wait_until


class Counter:
    """Count to `last` and then raise `error`. Record the count, and whether the generator was closed."""

    def __init__(self, last: int, error: Exception | None = None):
        self.last, self.error, self.count, self.closed = last, error, 0, False

    def items(self) -> Generator[int]:
        try:
            for item in range(1, self.last + 1):
                self.count = item
                yield item
            if self.error:
                raise self.error
        finally:
            self.closed = True


def running_threads() -> int:
    return sum(thread.name.startswith(("prefetch", "engine")) for thread in threading.enumerate())


def test_prefetched_items_keep_their_order() -> None:
    source = Counter(100)
    assert list(prefetch(source.items(), 3)) == list(range(1, 101))
    assert source.closed
    assert not running_threads()


def test_error_of_the_generator_follows_the_items_before_it() -> None:
    source = Counter(5, error=ValueError("damaged"))
    seen = []
    with pytest.raises(ValueError, match="damaged"):
        for item in prefetch(source.items(), 2):
            seen.append(item)
    assert seen == [1, 2, 3, 4, 5]
    assert not running_threads()


def test_stopping_early_ends_the_thread_and_closes_the_generator() -> None:
    source = Counter(1_000_000)
    items = prefetch(source.items(), 4)
    assert next(items) == 1
    items.close()
    assert source.closed
    assert source.count <= 7
    assert not running_threads()


def test_results_keep_the_order_of_the_items() -> None:
    second_started, first_started = threading.Event(), threading.Event()

    def square(number: int) -> int:
        if number == 1:
            first_started.set()
            second_started.wait()
        else:
            first_started.wait()
            second_started.set()
        return number * number

    assert list(map_ordered(square, range(1, 30), 4)) == [number * number for number in range(1, 30)]
    assert not running_threads()


def test_slow_item_does_not_stop_the_other_thread() -> None:
    later_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert later_done.wait(10)
        elif number == 6:
            later_done.set()
        return number

    assert list(map_ordered(work, range(9), 2)) == list(range(9))


def test_few_items_are_read_ahead() -> None:
    items = iter(range(1, 100))
    results = map_ordered(lambda number: number, items, 2)
    assert next(results) == 1
    assert next(items) <= MAX_AHEAD + 2
    results.close()
    assert not running_threads()


def test_item_is_released_when_its_work_is_done() -> None:
    class Big:
        pass

    created: list[weakref.ref[Big]] = []

    def items() -> Iterator[Big]:
        for _ in range(3):
            big = Big()
            created.append(weakref.ref(big))
            yield big
            del big

    results = map_ordered(lambda big: 0, items(), 2)
    next(results)
    last = created.pop()  # the generator still refers to it
    wait_until(lambda: not any(ref() for ref in created), "the items were released")
    assert last()
    results.close()


def test_error_of_the_work_is_raised_and_ends_all_threads() -> None:
    def fail_at_3(number: int) -> int:
        if number == 3:
            raise ValueError("damaged")
        return number

    with pytest.raises(ValueError, match="damaged"):
        list(map_ordered(fail_at_3, range(10), 2))
    assert not running_threads()
