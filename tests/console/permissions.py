"""The permissions of the console's account in its buckets (infra/pages.tf), checked against its storage requests.

fake-gcs-server allows every request, so a missing permission would otherwise show only on Google Cloud.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from defacer_emulator.chaos.http import Request
from tests.cloud import Buckets
from tests.terraform import local

VIEWER = "roles/storage.objectViewer"
READS = frozenset({"storage.objects.get", "storage.objects.list"})
COPY = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)")
API = re.compile(
    r"/(?P<kind>(?:(?:resumable/)?upload/|download/)?)storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<name>[^/]+))?"
)
METHODS = {"GET": "get", "PUT": "create", "POST": "create", "DELETE": "delete", "PATCH": "update"}


def find_missing(request: Request, buckets: Buckets) -> list[str]:
    """Return the permissions that the request needs and that no grant includes."""
    bucket_names = {buckets.intake: "intake", buckets.work: "work", buckets.output: "output"}
    return [
        f"{permission} on {bucket_names[bucket]}: {name}"
        for permission, bucket, name in list_needed(request.method, urlsplit(request.target).path)
        if bucket in bucket_names and not is_granted(permission, bucket_names[bucket], name)
    ]


def list_needed(method: str, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield permission, bucket and object ("" for the bucket itself). A preflight request needs none."""
    copied, api = COPY.fullmatch(path), API.fullmatch(path)
    if copied:
        yield "storage.objects.get", copied[1], unquote(copied[2])
        yield "storage.objects.create", copied[3], unquote(copied[4])
    elif api and method in METHODS:
        is_list = method == "GET" and api["name"] is None
        permission = "list" if is_list else METHODS[method]
        yield f"storage.objects.{permission}", api["bucket"], unquote(api["name"] or "")
    elif method in METHODS and not path.startswith("/storage/v1/"):  # a signed URL
        bucket, _, name = path.removeprefix("/").partition("/")
        yield f"storage.objects.{METHODS[method]}", bucket, unquote(name)


def is_granted(permission: str, bucket: str, name: str) -> bool:
    for grant in local("page_roles")["console"].values():
        granted = READS if grant["role"] == VIEWER else frozenset(local("page_permissions")[grant["ours"]])
        if grant["bucket"] == bucket and permission in granted and name.endswith(grant["suffix"] or ""):
            return True
    return False
