"""The guards of the rehearsal refuse what no grant allows, and each use shows in `Access.necessary`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Forbidden, PermissionDenied
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from defacer_emulator.chaos.http import Request
from defacer_emulator.services.messaging import create_publisher
from tests.cloud import PROJECT, Buckets, Topics
from tests.infra.applying import apply_project
from tests.infra.guards import Access, guard_publisher, guard_storage
from tests.infra.test_rehearsal import OTHER_USES
from tests.permissions import (
    ROLES,
    Grant,
    Need,
    bucket_resource,
    is_true,
    list_needs,
    object_resource,
    read_grants,
)
from tests.servers import ROOT

ACCOUNT = "serviceAccount:defacer-worker@some-project.iam.gserviceaccount.com"
OBJECTS = "/storage/v1/b/work/o"


def grant(resource: str, *permissions: str, condition: str = "") -> Grant:
    return Grant(ACCOUNT, resource, "some role", frozenset(permissions), condition)


def make_request(method: str, target: str, body: object = b"") -> Request:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(method, target, (), data, 0)


@pytest.mark.parametrize(
    ("condition", "name", "expected"),
    [
        ('resource.name.endsWith(".json")', "jobs/1/manifest.json", True),
        ('resource.name.endsWith(".json")', "jobs/1/gallery.npz", False),
        ('resource.name.endsWith(".json")', "", False),  # a list request is about the bucket
        (
            'resource.name.startsWith("projects/_/buckets/work/objects/channels/a/")',
            "channels/a/videos/x.mp4",
            True,
        ),
        (
            'resource.name.startsWith("projects/_/buckets/work/objects/channels/a/")',
            "channels/ab/videos/x.mp4",
            False,
        ),
        ('resource.name.endsWith(".a") || resource.name.endsWith(".b")', "x.b", True),
        ('resource.name.startsWith("projects/") && resource.name.endsWith(".b")', "x.a", False),
    ],
)
def test_condition_is_evaluated_as_in_the_cloud(condition: str, name: str, expected: bool) -> None:
    assert is_true(condition, object_resource("work", name)) is expected


def test_unknown_condition_is_an_error() -> None:
    with pytest.raises(AssertionError, match="is unknown"):
        is_true("request.time < timestamp('2026-01-01T00:00:00Z')", "projects/_/buckets/work")


def test_unknown_role_is_an_error() -> None:
    body = {"member": ACCOUNT, "bucket": "work", "role": "roles/storage.admin", "condition": []}
    with pytest.raises(KeyError, match=r"storage\.admin"):
        read_grants({"google_storage_bucket_iam_member": [body]})


@pytest.mark.parametrize(
    ("request_", "needs"),
    [
        (make_request("GET", OBJECTS), [("list", "")]),
        (make_request("GET", f"/download{OBJECTS}/a%2Fb?alt=media"), [("get", "a/b")]),
        (make_request("DELETE", OBJECTS + "/a"), [("delete", "a")]),
        (make_request("PATCH", OBJECTS + "/a"), [("get", "a"), ("update", "a")]),
        (make_request("POST", f"/upload{OBJECTS}?uploadType=media&name=a"), [("create", "a")]),
        (make_request("POST", f"/upload{OBJECTS}?uploadType=resumable", {"name": "a"}), [("create", "a")]),
        (
            make_request(
                "POST", f"/upload{OBJECTS}?uploadType=multipart", b'--x\r\n\r\n{"name": "a"}\r\n--x{'
            ),
            [("create", "a")],
        ),
        (make_request("PUT", f"/upload{OBJECTS}?upload_id=1"), []),
        (
            make_request("POST", OBJECTS + "/a/compose", {"sourceObjects": [{"name": "b"}]}),
            [("get", "b"), ("create", "a")],
        ),
        (make_request("POST", OBJECTS + "/a/rewriteTo/b/work/o/b"), [("get", "a"), ("create", "b")]),
        (make_request("OPTIONS", OBJECTS + "/a"), []),
    ],
)
def test_request_needs_the_permissions_of_its_method(request_: Request, needs: list[tuple[str, str]]) -> None:
    assert list(list_needs(request_)) == [
        Need(f"storage.objects.{verb}", object_resource("work", name)) for verb, name in needs
    ]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("channels/a/", True),
        ("channels/a/videos/", True),
        ("channels/a", False),
        ("channels/ab/", False),
        ("", False),
    ],
)
def test_grant_of_a_folder_allows_to_list_only_below_it(prefix: str, expected: bool) -> None:
    (need,) = list_needs(make_request("GET", f"{OBJECTS}?prefix={quote(prefix)}"))
    folder = grant(object_resource("work", "channels/a/"), "storage.objects.list")
    assert folder.allows(ACCOUNT, need) is expected
    assert grant(bucket_resource("work"), "storage.objects.list").allows(ACCOUNT, need)


def test_account_uses_its_bucket_and_no_other(buckets: Buckets, storage_address: str) -> None:
    access = Access([grant(bucket_resource(buckets.work), *ROLES["roles/storage.objectUser"])])
    with guard_storage(storage_address, ACCOUNT, access) as address:
        client = storage.Client(PROJECT, AnonymousCredentials(), client_options=ClientOptions(address))
        for _ in range(2):
            client.bucket(buckets.work).blob("jobs/1/a.json").upload_from_string("{}")
        assert [blob.name for blob in client.list_blobs(buckets.work)] == ["jobs/1/a.json"]
        assert access.denied == []
        for name in (buckets.intake, buckets.output):
            with pytest.raises(Forbidden):
                client.bucket(name).blob("a").upload_from_string("x", retry=None)
    assert len(access.denied) == 2
    assert access.necessary() == set(access.grants)


def test_overwriting_needs_the_delete_permission(buckets: Buckets, storage_address: str) -> None:
    access = Access([grant(bucket_resource(buckets.work), "storage.objects.create")])
    path = f"/upload/storage/v1/b/{buckets.work}/o?uploadType=media&name={quote('a/b')}"
    with guard_storage(storage_address, ACCOUNT, access) as address:
        statuses = [requests.post(address + path, b"1", timeout=30).status_code for _ in range(2)]
    assert statuses == [200, 403]
    assert access.denied == [(ACCOUNT, Need("storage.objects.delete", object_resource(buckets.work, "a/b")))]


def test_account_publishes_to_its_topic_and_no_other(topics: Topics, pubsub_address: str) -> None:
    path: Callable[[str], str] = lambda topic: f"projects/{PROJECT}/topics/{topic}"  # noqa: E731
    access = Access([grant(path(topics.segments), "pubsub.topics.publish")])
    with (
        guard_publisher(pubsub_address, ACCOUNT, access) as address,
        create_publisher(address) as publisher,
    ):
        message = {"topic": path(topics.segments), "messages": [{"data": b"x"}]}
        publisher.publish(request=message, retry=None, timeout=30)
        with pytest.raises(PermissionDenied):
            publisher.publish(request={**message, "topic": path(topics.uploads)}, retry=None, timeout=30)
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/google.pubsub.v1.Publisher/CreateTopic")(b"", timeout=30)
    assert len(topics.wait_for(topics.segments, 1)) == 1


def test_removed_grant_is_refused_within_its_block() -> None:
    need = Need("pubsub.topics.publish", "topics/a")
    access = Access([grant("topics/a", "pubsub.topics.publish")])
    with access.without(*access.grants):
        assert not access.allows(ACCOUNT, need)
    assert access.allows(ACCOUNT, need)


@pytest.mark.parametrize("test", sorted(set(OTHER_USES.values())))
def test_grant_that_no_rehearsed_job_needs_has_a_test(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("removed", "service", "need"),
    [
        (
            r'(merge += \{.*), output = "[^"]+"',
            "merge",
            Need("storage.objects.create", object_resource("some-project-output", "channels/a/walk.mp4")),
        ),
        (
            r'(worker += \[.*)"segments-done", ',
            "worker",
            Need("pubsub.topics.publish", "projects/some-project/topics/segments-done"),
        ),
    ],
)
def test_role_that_terraform_no_longer_grants_is_refused(
    removed: str, service: str, need: Need, tmp_path: Path
) -> None:
    member = f"serviceAccount:defacer-{service}@some-project.iam.gserviceaccount.com"
    allowed = []
    for name, pattern in (("before", "(?!)()"), ("after", removed)):
        folder = tmp_path / name
        folder.mkdir()
        with apply_project(folder, "defaults") as project:
            project.require_terraform()
            iam = folder / "iam.tf"
            iam.write_text(re.sub(pattern, r"\1", iam.read_text()))
            project.apply()
            allowed.append(Access(read_grants(project.provider.resources)).allows(member, need))
    assert allowed == [True, False]
