"""IAM as far as infra/ uses it: the grants of the Terraform resources, and the permissions that a request needs.

The permissions of requests and roles are those of cloud.google.com/storage/docs/access-control (iam-json, iam-roles).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from defacer_emulator.chaos.http import Request

ROLES = {
    "roles/iap.httpsResourceAccessor": {"iap.webServiceVersions.accessViaIAP"},
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    "roles/pubsub.subscriber": {"pubsub.subscriptions.consume"},
    "roles/run.invoker": {"run.routes.invoke"},
    "roles/run.viewer": {"run.services.get"},
    "roles/secretmanager.secretAccessor": {"secretmanager.versions.access"},
    "roles/storage.objectCreator": {"storage.objects.create"},
    "roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
    "roles/storage.objectUser": {
        f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list", "update")
    },
}
TERM = re.compile(r'resource\.name\.(?P<test>startsWith|endsWith)\("(?P<text>[^"]*)"\)')
# The resource that each kind of grant names.
RESOURCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "google_storage_bucket_iam_member": lambda body: bucket_resource(body["bucket"]),
    "google_storage_managed_folder_iam_member": lambda body: object_resource(
        body["bucket"], body["managed_folder"]
    ),
    "google_pubsub_topic_iam_member": lambda body: str(body["topic"]),
    "google_pubsub_subscription_iam_member": lambda body: f"subscriptions/{body['subscription']}",
    "google_cloud_run_v2_service_iam_member": lambda body: f"services/{body['name']}",
    "google_iap_web_cloud_run_service_iam_member": lambda body: f"pages/{body['cloud_run_service_name']}",
    "google_secret_manager_secret_iam_member": lambda body: f"secrets/{body['secret_id']}",
    "google_service_account_iam_member": lambda body: str(body["service_account_id"]),
}
# Grants without a permission on data: of images, of the key, and to write logs.
IGNORED = {"google_artifact_registry_repository_iam_member", "google_kms_crypto_key_iam_member"}
ON_THE_PROJECT = {"roles/logging.logWriter"}
COPY = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
COMPOSE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/compose")
API = re.compile(
    r"/(?:(?:(?:resumable/)?upload|download)/)?storage/v1/b/(?P<bucket>[^/]+)(?P<objects>/o(?:/(?P<name>[^/]+))?)?"
)
METHODS = {
    "GET": ("get",),
    "PUT": ("create",),
    "POST": ("create",),
    "DELETE": ("delete",),
    "PATCH": ("get", "update"),
}


def bucket_resource(bucket: str) -> str:
    return f"projects/_/buckets/{bucket}"


def object_resource(bucket: str, name: str) -> str:
    """Return the name that conditions compare. A request about all objects names the bucket."""
    return f"{bucket_resource(bucket)}/objects/{name}" if name else bucket_resource(bucket)


@dataclass(frozen=True)
class Need:
    """A permission on a resource. To list is a permission on a bucket, and `prefix` is the beginning of all names."""

    permission: str
    resource: str
    prefix: str = ""


@dataclass(frozen=True)
class Grant:
    """A role of a member on a resource and everything in it, as far as the condition holds."""

    member: str
    resource: str
    role: str
    permissions: frozenset[str]
    condition: str = ""

    def allows(self, member: str, need: Need) -> bool:
        place = f"{need.resource}/objects/{need.prefix}" if need.prefix else need.resource
        return (
            self.member == member
            and need.permission in self.permissions
            and is_within(place, self.resource)
            and (not self.condition or is_true(self.condition, need.resource))
        )


def is_within(place: str, resource: str) -> bool:
    """Return whether a grant on the resource covers this place.

    The name of a managed folder ends with a slash. Its grants cover the names and the prefixes that begin with it:
    https://cloud.google.com/storage/docs/managed-folders
    """
    return place == resource or place.startswith(resource if resource.endswith("/") else f"{resource}/")


def is_true(condition: str, resource: str) -> bool:
    """Evaluate a condition in CEL, of `startsWith` and `endsWith` joined by `||` and `&&`."""
    return any(
        all(_is_term_true(term, resource) for term in part.split("&&")) for part in condition.split("||")
    )


def _is_term_true(term: str, resource: str) -> bool:
    found = TERM.fullmatch(term.strip())
    assert found, f"the condition {term.strip()} is unknown: add it to tests/permissions.py"
    return (
        resource.startswith(found["text"])
        if found["test"] == "startsWith"
        else resource.endswith(found["text"])
    )


def read_grants(resources: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Grant]:
    """Return the grants in applied Terraform resources, which are keyed by type.

    Grants only add permissions: neither a bucket nor a managed folder can deny one. A binding of no member adds none.
    """
    for kind, bodies in resources.items():
        if kind == "google_project_iam_member":
            assert {body["role"] for body in bodies} <= ON_THE_PROJECT
        elif kind == "google_storage_bucket_iam_binding":
            assert not any(body["members"] for body in bodies)
        elif re.search("_iam_(member|binding|policy)$", kind):
            assert kind in {*RESOURCES, *IGNORED}, f"add {kind} to tests/permissions.py"
    custom = {
        body["id"]: set(body["permissions"]) for body in resources.get("google_project_iam_custom_role", ())
    }
    known = ROLES | custom
    return [
        Grant(
            body["member"],
            resource_of(body),
            body["role"],
            frozenset(known[body["role"]]),  # a KeyError names a role that ROLES lacks
            next((item["expression"] for item in body.get("condition") or ()), ""),
        )
        for kind, resource_of in RESOURCES.items()
        for body in resources.get(kind, ())
    ]


def list_needs(request: Request) -> Iterator[Need]:
    """Yield the permissions that a request to Cloud Storage needs, except to overwrite an object.

    A preflight request needs none, nor does a chunk of an upload: its URL is the permission.
    """
    parts = urlsplit(request.target)
    copied, composed, api = (form.fullmatch(parts.path) for form in (COPY, COMPOSE, API))
    if request.method not in METHODS or "upload_id" in parse_qs(parts.query):
        return
    if copied:
        source, target = (unquote(copied[2]), unquote(copied[4]))
        yield Need("storage.objects.get", object_resource(copied[1], source))
        yield Need("storage.objects.create", object_resource(copied[3], target))
    elif composed:
        for item in json.loads(request.body)["sourceObjects"]:
            yield Need("storage.objects.get", object_resource(composed[1], item["name"]))
        yield Need("storage.objects.create", object_resource(composed[1], unquote(composed[2])))
    elif api and not api["objects"]:
        yield Need("storage.buckets.get", bucket_resource(api["bucket"]))
    elif api and request.method == "GET" and api["name"] is None:
        (prefix,) = parse_qs(parts.query).get("prefix", [""])
        yield Need("storage.objects.list", bucket_resource(api["bucket"]), prefix)
    else:
        bucket, name = (api["bucket"], api["name"] or "") if api else parts.path[1:].partition("/")[::2]
        name = unquote(name) or _uploaded_name(request)
        for verb in METHODS[request.method]:
            yield Need(f"storage.objects.{verb}", object_resource(bucket, name))


def _uploaded_name(request: Request) -> str:
    """Return the name of an uploaded object: of the query, or of the JSON before the object's bytes."""
    for name in parse_qs(urlsplit(request.target).query).get("name", []):
        return name
    head = request.body[: 64 * 1024].decode("utf-8", "replace")
    if "{" not in head:
        return ""
    metadata, _ = json.JSONDecoder().raw_decode(head[head.index("{") :])
    return str(metadata.get("name", ""))
