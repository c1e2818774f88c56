"""Record which transitions of pipeline/README.md happen in a test, on real storage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from defacer.pipeline.storage import object_names, objects
from tests.cloud import Buckets
from tests.protocol.transitions import JobObjects, Transition, transitions_between


@contextmanager
def record_transitions(buckets: Buckets) -> Iterator[set[Transition]]:
    """Yield the transitions that the writes in this block make. Faults in the test do not affect the observation."""
    recorded: set[Transition] = set()

    def watching(write: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            name = name_of(*args)
            if not name.startswith(object_names.JOBS):
                return write(*args, **more)
            job = name.split("/")[1]
            before = _observe(buckets, job)
            try:
                return write(*args, **more)
            finally:
                recorded.update(transitions_between(before, _observe(buckets, job)))

        return call

    with pytest.MonkeyPatch.context() as patch:
        for by_name in ("replace", "delete_any"):
            patch.setattr(objects, by_name, watching(getattr(objects, by_name), lambda _, name, *rest: name))
        for by_ref in ("mark", "delete"):
            patch.setattr(objects, by_ref, watching(getattr(objects, by_ref), lambda ref, *rest: ref.name))
        yield recorded


def _observe(buckets: Buckets, job: str) -> JobObjects:
    blobs = buckets.client.list_blobs(buckets.work, prefix=object_names.job_prefix(job))
    return JobObjects.from_metadata(job, {blob.name: blob.metadata for blob in blobs})
