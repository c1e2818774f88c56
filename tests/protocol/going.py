"""Which arrows of functions/defacer/pipeline/README.md the functions go in a test, on real storage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from defacer.pipeline.storage import object_names, objects
from tests.cloud import Buckets
from tests.protocol.arrows import Arrow, Seen, between, seen


@contextmanager
def watched(buckets: Buckets) -> Iterator[set[Arrow]]:
    """Whatever goes through `store` in this block: looked at by another way, so that no fault strikes the looking."""
    gone: set[Arrow] = set()

    def watching(do: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            name = name_of(*args)
            if not name.startswith(object_names.JOBS):
                return do(*args, **more)
            job = name.split("/")[1]
            before = _seen(buckets, job)
            try:
                return do(*args, **more)
            finally:
                gone.update(between(before, _seen(buckets, job)))

        return call

    with pytest.MonkeyPatch.context() as patch:
        for by_name in ("replace", "delete_any"):
            patch.setattr(objects, by_name, watching(getattr(objects, by_name), lambda _, name, *rest: name))
        for by_ref in ("mark", "delete"):
            patch.setattr(objects, by_ref, watching(getattr(objects, by_ref), lambda ref, *rest: ref.name))
        yield gone


def _seen(buckets: Buckets, job: str) -> Seen:
    prefix = object_names.job_prefix(job)
    there = {blob.name: blob for blob in buckets.client.list_blobs(buckets.work, prefix=prefix)}
    verdict = (
        buckets.get(buckets.work, object_names.verdict(job)) if object_names.verdict(job) in there else None
    )
    failed = there.get(object_names.failed(job))
    return seen((name.removeprefix(prefix) for name in there), verdict, failed.metadata if failed else None)
