"""The members of a channel cannot list, read or write anything of another channel in Cloud Storage.

`tests/console/test_channel_access.py` tests the same for the console and the live page.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Conflict, Forbidden
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from defacer_emulator.resources import Resources
from tests.infra.applying import Project
from tests.infra.gcloud import requires_gcloud
from tests.infra.guards import Access, guard_storage
from tests.infra.stub_provider import PROJECT
from tests.permissions import Grant, Need, bucket_resource, object_resource, read_grants
from tests.terraform import INFRA

RESOURCES = Resources(PROJECT)
IN, WORK, OUT = RESOURCES.buckets
OWNER, UPLOADER, VIEWER = "user:olga@example.com", "group:crew@example.com", "user:vera@example.com"
MEMBERS = (OWNER, UPLOADER, VIEWER)
# The other channel's name begins with this channel's name, as a prefix without a slash would.
OTHER_MEMBERS = ("domain:side.example", "user:udo@example.com", "user:wim@example.com")
VERBS = ("create", "delete", "get", "list", "update")
ALL = set(VERBS)
NAMES = ("videos/walk.mp4", "policy.json", "targets/Ada/1.jpg", "rerender/0.json", "walk.mp4", "")
# Prefixes that several channels have, a channel without members, and a job.
SHARED = (
    "",
    "channels/",
    "channels/s",
    "channels/street",
    "channels/new/videos/x.mp4",
    "jobs/0/manifest.json",
)
FOLDER = "channels/street/"
VIDEO, POLICY, TARGET = f"{FOLDER}videos/walk.mp4", f"{FOLDER}policy.json", f"{FOLDER}targets/Ada/1.jpg"
RESULT = f"{FOLDER}walk.mp4"
# What each member is allowed to do with an object, or below a folder.
ROLES = {
    (OWNER, IN, VIDEO): ALL,
    (OWNER, IN, POLICY): ALL,
    (OWNER, IN, TARGET): ALL,
    (OWNER, IN, FOLDER): ALL,
    (OWNER, OUT, RESULT): {"get", "list"},
    (OWNER, WORK, "jobs/0/manifest.json"): set(),
    # Cloud Storage requires "delete" as well to overwrite an object, so a second upload needs a new name.
    (UPLOADER, IN, VIDEO): {"create"},
    (UPLOADER, IN, POLICY): set(),
    (UPLOADER, IN, TARGET): set(),
    (UPLOADER, IN, f"{FOLDER}rerender/0.json"): set(),
    (UPLOADER, IN, f"{FOLDER}confirmations/0.json"): set(),
    (UPLOADER, IN, FOLDER): set(),
    (UPLOADER, OUT, RESULT): set(),
    (VIEWER, OUT, RESULT): {"get", "list"},
    (VIEWER, OUT, FOLDER): {"get", "list"},
    (VIEWER, IN, VIDEO): set(),
    (VIEWER, IN, POLICY): set(),
    ("user:eve@example.com", IN, VIDEO): set(),
    ("user:eve@example.com", OUT, RESULT): set(),
}


@pytest.fixture
def grants(project: Project) -> list[Grant]:
    if not project.variables:
        pytest.skip("has no channels")
    return read_grants(project.provider.resources)


def list_verbs(grants: list[Grant], member: str, bucket: str, name: str) -> set[str]:
    """Return what this member is allowed to do with the object, and whether to list this prefix."""
    needs = {verb: Need(f"storage.objects.{verb}", object_resource(bucket, name)) for verb in VERBS}
    needs["list"] = Need("storage.objects.list", bucket_resource(bucket), name)
    return {verb for verb, need in needs.items() if any(grant.allows(member, need) for grant in grants)}


@pytest.mark.parametrize(("members", "channel"), [(MEMBERS, "streetside"), (OTHER_MEMBERS, "street")])
def test_members_have_no_permission_in_another_channel(
    grants: list[Grant], members: tuple[str, ...], channel: str
) -> None:
    verbs = {
        (member, bucket, name): list_verbs(grants, member, bucket, f"channels/{channel}/{name}")
        for member in members
        for bucket in RESOURCES.buckets
        for name in NAMES
    }
    assert set().union(*verbs.values()) == set(), verbs


def test_members_have_no_permission_outside_of_their_channels(grants: list[Grant]) -> None:
    verbs = {
        (member, bucket, name): list_verbs(grants, member, bucket, name)
        for member in (*MEMBERS, *OTHER_MEMBERS)
        for bucket in RESOURCES.buckets
        for name in SHARED
    }
    assert set().union(*verbs.values()) == set(), verbs


def test_members_have_only_the_permissions_of_their_role(grants: list[Grant]) -> None:
    assert {key: list_verbs(grants, *key) for key in ROLES} == ROLES


def test_only_service_accounts_have_a_role_on_a_whole_bucket(grants: list[Grant]) -> None:
    buckets = {bucket_resource(bucket) for bucket in RESOURCES.buckets}
    whole = {grant.member for grant in grants if grant.resource in buckets}
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


@dataclass
class Clients:
    """Google's storage client and the address of Cloud Storage, as each member sees it."""

    stack: ExitStack
    upstream: str
    access: Access

    def address_of(self, member: str) -> str:
        return self.stack.enter_context(guard_storage(self.upstream, member, self.access))

    def client_of(self, member: str) -> storage.Client:
        return connect(self.address_of(member))


def connect(address: str) -> storage.Client:
    options = ClientOptions(api_endpoint=address)
    return storage.Client(PROJECT, AnonymousCredentials(), client_options=options)


@pytest.fixture
def clients(grants: list[Grant], storage_address: str) -> Iterator[Clients]:
    """Fill both channels."""
    everyone = connect(storage_address)
    for bucket in (IN, OUT):
        with suppress(Conflict):
            everyone.create_bucket(bucket)
    for channel in ("street", "streetside"):
        for bucket, name in ((IN, "videos/walk.mp4"), (IN, "policy.json"), (OUT, "walk.mp4")):
            everyone.bucket(bucket).blob(f"channels/{channel}/{name}").upload_from_string(b"x")
    with ExitStack() as stack:
        yield Clients(stack, storage_address, Access(grants))


def test_owner_s_client_reaches_only_the_own_channel(clients: Clients) -> None:
    intake = clients.client_of(OWNER).bucket(IN)
    own, other = "channels/street/", "channels/streetside/"
    assert [blob.name for blob in intake.list_blobs(prefix=own)] == [
        f"{own}policy.json",
        f"{own}videos/walk.mp4",
    ]
    intake.blob(f"{own}policy.json").upload_from_string(b"{}")

    for prefix in (None, "channels/", "channels/street", other):
        with pytest.raises(Forbidden):
            list(intake.list_blobs(prefix=prefix))
    with pytest.raises(Forbidden):
        intake.blob(f"{other}videos/walk.mp4").download_as_bytes()
    with pytest.raises(Forbidden):
        intake.copy_blob(intake.blob(f"{other}videos/walk.mp4"), intake, f"{own}videos/mine.mp4")
    for name in (f"{other}policy.json", f"{other}targets/me.jpg"):
        with pytest.raises(Forbidden):
            intake.blob(name).upload_from_string(b"{}")
    with pytest.raises(Forbidden):
        intake.blob(f"{other}videos/walk.mp4").delete()


def test_uploader_s_client_adds_videos_and_replaces_none(clients: Clients) -> None:
    client = clients.client_of(UPLOADER)
    small, large = (client.bucket(IN).blob(f"{FOLDER}videos/{name}.mp4") for name in ("small", "large"))
    large.chunk_size = 256 * 1024  # uploads in chunks, as for a large file
    for blob in (small, large):
        blob.upload_from_string(bytes(300 * 1024))
        with pytest.raises(Forbidden):
            blob.upload_from_string(b"another video")
        with pytest.raises(Forbidden):
            blob.download_as_bytes()


def documented_command(form: str, replaced: dict[str, str]) -> str:
    """Return a command of infra/DEPLOYMENT.md for the channel `street` of this project."""
    (command,) = re.findall(rf"^ +({form}[^`]*)", (INFRA / "DEPLOYMENT.md").read_text(), re.MULTILINE)
    for before, after in {**replaced, "my-project": PROJECT, "/vlog/": "/street/"}.items():
        assert before in command
        command = command.replace(before, after)
    return str(command)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_documented_upload_command_adds_a_video_and_replaces_none(clients: Clients, tmp_path: Path) -> None:
    replaced = {
        "https://storage.googleapis.com": clients.address_of(UPLOADER),
        "$(gcloud auth print-access-token)": "token",
    }
    command = documented_command("curl ", replaced)
    (tmp_path / "my.mp4").write_bytes(b"a video")

    runs = [
        subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False) for _ in "12"
    ]
    assert [(run.returncode, b"403" in run.stderr) for run in runs] == [(0, False), (22, True)]
    assert b'"channels/street/videos/my.mp4"' in runs[0].stdout


@pytest.mark.slow
@requires_gcloud
def test_documented_list_command_shows_the_own_results_only(clients: Clients, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    environment = {
        **os.environ,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{clients.address_of(VIEWER)}/storage/v1/",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
    }
    command = documented_command("gcloud storage ls", {})
    others = (command.replace("street", "streetside"), command.replace("street/", ""))
    own, *refused = (
        subprocess.run(
            ["bash", "-c", run], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        for run in (command, *others)
    )
    assert (own.returncode, own.stdout.split()) == (0, [f"gs://{OUT}/channels/street/walk.mp4"])
    assert [(run.returncode, run.stdout, "needs Need" in run.stderr) for run in refused] == [
        (1, "", True)
    ] * 2
