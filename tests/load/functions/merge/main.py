"""The real merge, with its listings and its joins written down for the load test."""

import time
from pathlib import Path

from functions.engine import join as engine_join
from functions.merge import engine
from functions.merge.main import merge
from functions.pipeline import store
from tests.load.notes import note

__all__ = ["merge"]

_list_all, _join = store.list_all, engine_join.join


def _noted_listing(bucket: str, prefix: str) -> tuple[store.ObjectRef, ...]:
    found = _list_all(bucket, prefix)
    job, step = prefix.split("/")[1:3]
    note("list", job=job, step=step, objects=len(found), memory=_megabytes())
    return found


def _noted_join(source, segments, body, progress):  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    joined = _join(source, segments, body, progress)
    note("join", segments=len(segments), seconds=time.perf_counter() - started, memory=_megabytes())
    return joined


def _megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


store.list_all = _noted_listing
engine.engine_join.join = _noted_join
