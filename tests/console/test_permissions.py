"""`permissions.py` detects missing permissions, so the tests with the fixture `limited` can fail."""

from urllib.parse import quote

import pytest

from defacer_emulator.chaos.http import Request
from tests.cloud import Buckets
from tests.console.permissions import find_missing

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
def test_account_lists_the_work_bucket_and_reads_documents(
    method: str, target: str, buckets: Buckets
) -> None:
    assert find_missing(make_request(method, target.format(buckets.work)), buckets) == []


@pytest.mark.parametrize(
    ("method", "target", "missing"),
    [
        ("GET", "/download" + OBJECTS + f"/{JOB}gallery-0123.npz?alt=media", "get"),
        ("GET", f"/{{}}/{JOB}segments/00000-0123.nut?X-Goog-Signature=0", "get"),
    ],
)
def test_account_reads_no_embeddings_or_segments(
    method: str, target: str, missing: str, buckets: Buckets
) -> None:
    (message,) = find_missing(make_request(method, target.format(buckets.work)), buckets)
    assert message.startswith(f"storage.objects.{missing} on work")


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", OBJECTS + f"/{VIDEO}"), ("POST", "/upload" + OBJECTS), ("PATCH", OBJECTS + f"/{VIDEO}")],
)
def test_account_erases_videos_and_changes_no_metadata(method: str, path: str, buckets: Buckets) -> None:
    for bucket in (buckets.intake, buckets.output):
        missing = find_missing(make_request(method, path.format(bucket)), buckets)
        assert bool(missing) == (method == "PATCH")


def test_copy_needs_read_and_create_permissions(buckets: Buckets) -> None:
    segment = f"{JOB}segments%2F00000-0123.nut"
    copy = f"/storage/v1/b/{buckets.work}/o/{segment}/rewriteTo/b/{buckets.output}/o/{VIDEO}"
    (message,) = find_missing(make_request("POST", copy), buckets)
    assert message.startswith("storage.objects.get on work")


def make_request(method: str, target: str) -> Request:
    return Request(method, target, (), b"", 0)
