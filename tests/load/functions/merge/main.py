"""The real merge, with its listings and its work written down for the load test."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from defacer.engine.media import joiner as engine_join
from defacer.engine.tracking import linking as engine_link
from defacer.merge import engine_adapter
from defacer.merge.main import merge
from defacer.pipeline.storage import objects
from tests.load.notes import note

__all__ = ["merge"]

_list_all, _join, _link = objects.list_all, engine_join.join, engine_link.link


def _noted_listing(bucket: str, prefix: str) -> tuple[objects.ObjectRef, ...]:
    found = _list_all(bucket, prefix)
    job, step = prefix.split("/")[1:3]
    note("list", job=job, step=step, objects=len(found))
    return found


def _noted_join(source: Any, segments: Any, *more: Any) -> engine_join.Joined:
    with _noted("join") as count:
        count.append(len(segments))
        return _join(source, segments, *more)


def _noted_link(findings: Any, *more: Any) -> Any:
    with _noted("link") as count:
        return _link(_counted(findings, count), *more)


def _counted(findings: Iterable[Any], count: list[int]) -> Iterator[Any]:
    for part in findings:
        count.append(1)
        yield part


@contextmanager
def _noted(what: str) -> Iterator[list[int]]:
    """The processor's time, not the clock's: others work on this machine, too. Gives where to put what is counted."""
    count: list[int] = []
    started = time.thread_time()
    yield count
    note(what, segments=sum(count), seconds=time.thread_time() - started)


objects.list_all = _noted_listing
engine_adapter.engine_join.join = _noted_join
engine_adapter.engine_link.link = _noted_link
