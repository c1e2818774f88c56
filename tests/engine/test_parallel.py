"""Several items at once: results in order, errors passed on, nothing left running."""

import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from defacer.engine.runtime.parallel import map_ordered
from tests.servers import wait_until


def running() -> int:
    return sum(thread.name.startswith("engine") for thread in threading.enumerate())


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 / number)
        return number * number

    found = list(map_ordered(slow_at_first, range(1, 30), 4))
    assert found == [number * number for number in range(1, 30)]
    assert not running()


def test_only_few_items_are_taken_ahead() -> None:
    items = iter(range(1, 100))
    results = map_ordered(lambda number: number, items, 2)
    assert next(results) == 1
    assert next(items) <= 4
    results.close()
    assert not running()


def test_an_item_is_let_go_when_its_work_is_done() -> None:
    class Big:
        pass

    held: list[weakref.ref[Big]] = []

    def items() -> Iterator[Big]:
        for _ in range(3):
            big = Big()
            held.append(weakref.ref(big))
            yield big
            del big

    results = map_ordered(lambda big: 0, items(), 2)
    next(results)
    last = held.pop()  # the generator has this one still
    wait_until(lambda: not any(ref() for ref in held), "the items were let go")
    assert last()
    results.close()


def test_an_error_is_passed_on_and_ends_all() -> None:
    def fails(number: int) -> int:
        if number == 3:
            raise ValueError("damaged")
        return number

    with pytest.raises(ValueError, match="damaged"):
        list(map_ordered(fails, range(10), 2))
    assert not running()
