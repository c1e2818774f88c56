"""The members of a channel cannot list, read or write anything of another channel in Cloud Storage.

`tests/console/test_channel_access.py` tests the same for the console and the live page.
"""

import pytest

from defacer_emulator.resources import Resources
from tests.infra.applying import Project
from tests.infra.storage_access import CREATE, DELETE, GET, LIST, SET_POLICY, UPDATE, StorageAccess
from tests.infra.stub_provider import PROJECT

RESOURCES = Resources(PROJECT)
IN, WORK, OUT = RESOURCES.buckets
OWNER, UPLOADER, VIEWER = "user:olga@example.com", "group:crew@example.com", "user:vera@example.com"
MEMBERS = (OWNER, UPLOADER, VIEWER)
# The other channel's name begins with this channel's name, as a prefix without a slash would.
OTHER_MEMBERS = ("domain:side.example", "user:udo@example.com", "user:wim@example.com")
NAMES = (
    "videos/walk.mp4",
    "policy.json",
    "targets/Ada/1.jpg",
    "replacement.png",
    "rerender/0.json",
    "walk.mp4",
    "",
)
ALL = (CREATE, DELETE, GET, LIST, UPDATE, SET_POLICY)


@pytest.fixture
def access(project: Project) -> StorageAccess:
    if not project.variables:
        pytest.skip("has no channels")
    return StorageAccess(project)


@pytest.mark.parametrize(("members", "channel"), [(MEMBERS, "streetside"), (OTHER_MEMBERS, "street")])
def test_members_have_no_permission_in_another_channel(
    access: StorageAccess, members: tuple[str, ...], channel: str
) -> None:
    granted = [
        (member, permission, bucket, name)
        for member in members
        for permission in ALL
        for bucket in RESOURCES.buckets
        for name in (f"channels/{channel}/{name}" for name in NAMES)
        if access.has({member}, permission, bucket, name)
    ]
    assert granted == []


def test_members_have_no_permission_outside_of_their_channels(access: StorageAccess) -> None:
    everyone = {*MEMBERS, *OTHER_MEMBERS}
    granted = [
        (permission, bucket, name)
        for permission in ALL
        for bucket in RESOURCES.buckets
        for name in ("", "channels/", "channels/s", "channels/street", "channels/new/videos/x.mp4", "jobs/")
        if access.has(everyone, permission, bucket, name)
    ]
    assert granted == []


FOLDER = "channels/street/"
VIDEO, POLICY, TARGET = f"{FOLDER}videos/walk.mp4", f"{FOLDER}policy.json", f"{FOLDER}targets/Ada/1.jpg"
RESULT = f"{FOLDER}walk.mp4"
# All permissions of a member on an object, or below a folder.
ROLES = {
    (OWNER, IN, VIDEO): {CREATE, DELETE, GET, LIST, UPDATE},
    (OWNER, IN, POLICY): {CREATE, DELETE, GET, LIST, UPDATE},
    (OWNER, IN, TARGET): {CREATE, DELETE, GET, LIST, UPDATE},
    (OWNER, IN, FOLDER): {CREATE, DELETE, GET, LIST, UPDATE},
    (OWNER, OUT, RESULT): {GET, LIST},
    (OWNER, WORK, "jobs/0/manifest.json"): set(),
    # To overwrite an object needs DELETE as well as CREATE, so a second upload needs a new name.
    (UPLOADER, IN, VIDEO): {CREATE},
    (UPLOADER, IN, POLICY): set(),
    (UPLOADER, IN, TARGET): set(),
    (UPLOADER, IN, f"{FOLDER}rerender/0.json"): set(),
    (UPLOADER, IN, f"{FOLDER}confirmations/0.json"): set(),
    (UPLOADER, IN, FOLDER): set(),
    (UPLOADER, IN, f"{FOLDER}videos"): set(),
    (UPLOADER, OUT, RESULT): set(),
    (VIEWER, OUT, RESULT): {GET, LIST},
    (VIEWER, OUT, FOLDER): {GET, LIST},
    (VIEWER, IN, VIDEO): set(),
    (VIEWER, IN, POLICY): set(),
    ("user:eve@example.com", IN, VIDEO): set(),
    ("user:eve@example.com", OUT, RESULT): set(),
}


def test_members_have_only_the_permissions_of_their_role(access: StorageAccess) -> None:
    assert {
        (member, bucket, name): {each for each in ALL if access.has({member}, each, bucket, name)}
        for member, bucket, name in ROLES
    } == ROLES


def test_no_member_but_service_accounts_has_a_whole_bucket(access: StorageAccess) -> None:
    whole = {grant.member for grant in access.grants if not grant.prefix}
    suffix = f"@{PROJECT}.iam.gserviceaccount.com"
    assert len(whole) > 5
    assert all(member.startswith("serviceAccount:defacer-") and member.endswith(suffix) for member in whole)


def test_folders_of_channels_are_removed_without_their_objects(project: Project) -> None:
    folders = project.resources("storage_managed_folder")
    assert {(body["bucket"], body["name"]) for body in folders} == {
        (bucket, f"channels/{channel}/{below}")
        for channel in (("street", "streetside") if project.variables else ())
        for bucket, below in ((IN, ""), (IN, "videos/"), (OUT, ""))
    }
    assert all(body["force_destroy"] for body in folders)
