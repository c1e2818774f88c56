"""Decide from applied Terraform resources whether a member has a permission on an object, as Cloud Storage does.

The rules and the permissions of Google's roles are those of these pages (August 2026):
https://cloud.google.com/storage/docs/managed-folders
https://cloud.google.com/storage/docs/access-control/iam-roles
https://cloud.google.com/iam/docs/conditions-attribute-reference
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from tests.infra.applying import Project
from tests.infra.stub_provider import PROJECT

OBJECTS, FOLDERS = "storage.objects.", "storage.managedFolders."
CREATE, DELETE, GET, LIST, UPDATE = (
    f"{OBJECTS}{verb}" for verb in ("create", "delete", "get", "list", "update")
)
SET_POLICY = f"{FOLDERS}setIamPolicy"
FOLDER_READS = {f"{FOLDERS}get", f"{FOLDERS}list"}
# No role here can change the policy of a bucket, an object or a folder.
PERMISSIONS = {
    "roles/storage.objectViewer": {GET, LIST, *FOLDER_READS},
    "roles/storage.objectCreator": {CREATE, f"{FOLDERS}create"},
    "roles/storage.objectUser": {
        CREATE, DELETE, GET, LIST, UPDATE, f"{OBJECTS}restore", f"{OBJECTS}move",
        f"{FOLDERS}create", f"{FOLDERS}delete", *FOLDER_READS,
    },
}  # fmt: skip
# Roles of the project without a permission on objects.
HARMLESS = {"roles/logging.logWriter"}
CONDITION = re.compile(r'resource\.name\.endsWith\("([^"]+)"\)')


@dataclass(frozen=True)
class Grant:
    """A role of a member on the objects of a bucket that begin with `prefix` and end with `suffix`."""

    member: str
    permissions: frozenset[str]
    bucket: str
    prefix: str
    suffix: str

    def includes(self, permission: str, bucket: str, name: str) -> bool:
        """Return whether it grants the permission on this object, or for LIST on all objects with this prefix."""
        # The resource of a list is the bucket or the folder, so a condition on the name of an object is never true.
        is_named = name.endswith(self.suffix) and not (self.suffix and permission == LIST)
        is_below = bucket == self.bucket and name.startswith(self.prefix)
        return permission in self.permissions and is_below and is_named


class StorageAccess:
    """All grants of a project on objects."""

    def __init__(self, project: Project):
        roles = {
            f"projects/{PROJECT}/roles/{body['role_id']}": set(body["permissions"])
            for body in project.resources("project_iam_custom_role")
        }
        self._permissions = {**PERMISSIONS, **roles}
        self.grants = list(self._read_grants(project))

    def has(self, members: Collection[str], permission: str, bucket: str, name: str) -> bool:
        """Return whether one of these members has the permission on this object."""
        return any(
            grant.member in members and grant.includes(permission, bucket, name) for grant in self.grants
        )

    def _read_grants(self, project: Project) -> Iterator[Grant]:
        """Yield the grants. Grants only add permissions: neither a bucket nor a managed folder can deny one."""
        known = {"storage_bucket_iam_member", "storage_managed_folder_iam_member"}
        for kind in project.provider.resources:
            if re.match("google_(storage_.*|project)_iam_(member|binding|policy)", kind):
                assert kind.removeprefix("google_") in {*known, "project_iam_member"}, kind
        assert {body["role"] for body in project.resources("project_iam_member")} <= HARMLESS
        for kind in known:
            for body in project.resources(kind):
                yield self._to_grant(body)

    def _to_grant(self, body: dict[str, Any]) -> Grant:
        suffix = ""
        for condition in body["condition"]:
            found = CONDITION.fullmatch(condition["expression"])
            assert found, condition
            suffix = found[1]
        permissions = frozenset(self._permissions[body["role"]])
        return Grant(body["member"], permissions, body["bucket"], body.get("managed_folder") or "", suffix)
