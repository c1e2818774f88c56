"""The real merge, which writes notes about its listings and its CPU time for the load test."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from google.cloud.storage import Blob

from defacer.engine.media import joiner as engine_join
from defacer.engine.tracking import linking as engine_link
from defacer.merge.main import merge
from defacer.pipeline.storage import objects
from tests.load.notes import write_note

__all__ = ["merge"]

_list_blobs, _join, _link = objects.list_blobs, engine_join.join, engine_link.link_faces


def _list_with_note(bucket: str, prefix: str, *, recursive: bool = True) -> list[Blob]:
    found = _list_blobs(bucket, prefix, recursive=recursive)
    write_note("list", job=prefix.split("/")[1], objects=len(found))
    return found


def _join_with_note(source: Any, segments: Any, *more: Any, **named: Any) -> engine_join.JoinResult:
    with _measured("join") as count:
        count.append(len(segments))
        return _join(source, segments, *more, **named)


def _link_with_note(detections: Any, *more: Any, **named: Any) -> Any:
    with _measured("link") as count:
        return _link(_count(detections, count), *more, **named)


def _count(detections: Iterable[Any], count: list[int]) -> Iterator[Any]:
    for part in detections:
        count.append(1)
        yield part


@contextmanager
def _measured(kind: str) -> Iterator[list[int]]:
    """Note the CPU time of the block, because other programs use this machine. Yield a list for counts."""
    count: list[int] = []
    started = time.thread_time()
    yield count
    write_note(kind, segments=sum(count), seconds=time.thread_time() - started)


objects.list_blobs = _list_with_note
engine_join.join = _join_with_note
engine_link.link_faces = _link_with_note  # type: ignore[assignment]
