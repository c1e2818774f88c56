"""What `rights.py` refuses, without which the tests that are `limited` could not fail."""

from urllib.parse import quote

import pytest

from defacer_emulator.chaos.http import Request
from tests.cloud import Buckets
from tests.console.rights import refused

VIDEO = quote("channels/street/videos/walk.mp4", safe="")
JOB = "jobs%2F0123456789abcdef0123%2F"
OBJECTS = "/storage/v1/b/{}/o"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", OBJECTS + "?prefix=jobs"),
        ("GET", OBJECTS + f"/{JOB}manifest.json"),
        ("GET", "/download" + OBJECTS + f"/{JOB}manifest.json?alt=media"),
    ],
)
def test_of_the_work_bucket_it_may_list_all_and_read_documents(
    method: str, target: str, buckets: Buckets
) -> None:
    assert refused(asked(method, target.format(buckets.work)), buckets) == []


@pytest.mark.parametrize(
    ("method", "target", "missing"),
    [
        ("GET", "/download" + OBJECTS + f"/{JOB}gallery-0123.npz?alt=media", "get"),
        ("GET", f"/{{}}/{JOB}segments/00000-0123.nut?X-Goog-Signature=0", "get"),
        ("POST", "/upload" + OBJECTS + "?uploadType=multipart", "create"),
        ("DELETE", OBJECTS + f"/{JOB}manifest.json", "delete"),
    ],
)
def test_embeddings_and_segments_it_does_not_read_and_changes_nothing_of_a_job(
    method: str, target: str, missing: str, buckets: Buckets
) -> None:
    (sentence,) = refused(asked(method, target.format(buckets.work)), buckets)
    assert sentence.startswith(f"storage.objects.{missing} on work")


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", OBJECTS + f"/{VIDEO}"), ("POST", "/upload" + OBJECTS), ("PATCH", OBJECTS + f"/{VIDEO}")],
)
def test_results_it_only_reads_and_it_changes_nobody_s_metadata(
    method: str, path: str, buckets: Buckets
) -> None:
    assert refused(asked(method, path.format(buckets.output)), buckets)
    assert bool(refused(asked(method, path.format(buckets.intake)), buckets)) == (method == "PATCH")


def test_a_copy_is_reading_there_and_writing_here(buckets: Buckets) -> None:
    copy = f"/storage/v1/b/{buckets.intake}/o/{VIDEO}/rewriteTo/b/{buckets.output}/o/{VIDEO}"
    (sentence,) = refused(asked("POST", copy), buckets)
    assert sentence.startswith("storage.objects.create on output")


def asked(method: str, target: str) -> Request:
    return Request(method, target, (), b"", 0)
