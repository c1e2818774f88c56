"""A rehearsal of a deployment: the applied services run as processes, with their accounts' grants and nothing more.

The services run jobs: one is published, one fails, one waits for a role that is missing. tests/infra/rehearsal.py has
the machinery.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from defacer.engine.models import weights
from defacer.pipeline.documents.base import Document
from defacer.pipeline.documents.job_records import JobEvent
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.storage import object_names, objects
from defacer.webhook.delivery import sign
from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture
from defacer_emulator.services.messaging import create_publisher
from tests.cloud import Buckets
from tests.console.visitor import Visitor
from tests.infra.applying import RECEIVER, apply_project
from tests.infra.containers import PYTHON
from tests.infra.recorded_apply import require_record
from tests.infra.rehearsal import SECRET, Rehearsal, rehearse
from tests.infra.stub_provider import PROJECT
from tests.live.service import Service
from tests.permissions import Grant
from tests.receiver import Call, Receiver, open_receiver
from tests.servers import UV, wait_until

pytestmark = pytest.mark.slow

SECONDS = 240
OWNER = "olga@example.com"  # of the channel street
# Grants that these jobs do not need, each with a test of the code that needs it.
OTHER_USES = {
    **{
        (f"defacer-{name}", "uploads", "pubsub.publisher"): (
            "tests/functions/test_admission.py::test_ended_job_calls_the_next_upload_once"
        )
        for name in ("ingest", "worker", "merge", "console", "commands")
    },
    ("defacer-builder", "some-project-builds", "storage.objectViewer"): (
        "tests/infra/test_deploy_tools.py::test_first_and_second_deployment_succeed"
    ),
    ("defacer-commands", "job-events", "pubsub.publisher"): (
        "tests/functions/test_forget.py::test_forget_fails_only_jobs_that_keep_the_person"
    ),
    ("defacer-commands", "some-project-intake", "storage.objectUser"): (
        "tests/infra/test_commands_job.py::test_job_is_erased_and_rerendered_with_the_grants_of_the_job"
    ),
    ("defacer-commands", "some-project-output", "storage.objectUser"): (
        "tests/infra/test_commands_job.py::test_job_is_erased_and_rerendered_with_the_grants_of_the_job"
    ),
    ("defacer-commands", "some-project-work", "storage.objectUser"): (
        "tests/infra/test_commands_job.py::test_job_is_erased_and_rerendered_with_the_grants_of_the_job"
    ),
    ("defacer-console", "job-events", "pubsub.publisher"): (
        "tests/functions/test_forget.py::test_forget_fails_only_jobs_that_keep_the_person"
    ),
    ("defacer-console", "some-project-work", "storage.objectViewer for /faces.jsonl"): (
        "tests/console/test_waiting_job.py::test_waiting_job_is_reviewed_before_anything_is_rendered"
    ),
    ("defacer-dead-letter", "some-project-intake", "defacerSourceRemover"): (
        "tests/functions/test_dead_letter.py::test_dead_letter_of_a_published_job_deletes_embeddings"
    ),
    ("defacer-dead-letter", "some-project-intake", "storage.objectViewer"): (
        "tests/functions/test_dead_letter.py::test_dead_letter_of_an_unplanned_upload_fails_a_job"
    ),
    ("defacer-dead-letter", "some-project-output", "storage.objectUser"): (
        "tests/functions/test_dead_letter.py::test_dead_letter_waits_while_the_job_is_published"
    ),
    ("defacer-ingest", "some-project-output", "storage.objectViewer"): (
        "tests/functions/test_rerender.py::test_kept_track_can_be_hidden"
    ),
    ("defacer-worker", "job-events", "pubsub.publisher"): (
        "tests/functions/test_source_changes.py::test_source_deleted_before_detection_fails_the_job"
    ),
    ("defacer-worker", "segments", "pubsub.publisher"): (
        "tests/functions/test_split.py::test_segment_is_split_after_three_timeouts"
    ),
}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with open_receiver() as opened:
        yield opened


def can_run(*command: str) -> bool:
    try:
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def rehearsal(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    if os.geteuid() or not shutil.which("setpriv") or not can_run("unshare", "--mount", "true"):
        pytest.skip("requires root, setpriv and unshare, to run each service as the user of its image")
    if not can_run(UV, "python", "find", PYTHON):
        pytest.skip(f"requires Python {PYTHON}, which is that of the images")
    weights.fetch_all()  # the image has them
    with apply_project(tmp_path_factory.mktemp("infra"), "rehearsal") as project:
        project.apply()
        require_record(project.record, project.provider.resources)
        applied = json.dumps(project.provider.resources).replace(RECEIVER, receiver.address)
        project.provider.resources = json.loads(applied)
        folder = tmp_path_factory.mktemp("services")
        folder.chmod(0o755)
        with rehearse(project, folder) as running:
            yield running
            for name, service in running.services.items():
                print(f"---- {name}\n{service.log}")  # shown if a test fails


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_demo_clip(path, 2.0, (640, 360), 15)
    return path.read_bytes()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("target") / "astronaut.png"
    write_target_picture(path)
    return path.read_bytes()


@dataclass(frozen=True)
class Operator:
    """Uploads to the rehearsed deployment, and waits for its reports."""

    rehearsal: Rehearsal
    receiver: Receiver
    clip: bytes

    @property
    def buckets(self) -> Buckets:
        return self.rehearsal.buckets

    def upload(self, name: str, data: bytes | None = None, channel: str = "street") -> str:
        """Upload a video, by default the clip, and return the job's id."""
        path = f"channels/{channel}/videos/{name}"
        return object_names.job_of(self.buckets.put(self.buckets.intake, path, data or self.clip))

    def wait_for_end(self, job: str) -> JobEvent:
        """Wait until the webhook reports the end of the job, with a valid signature."""
        events: list[JobEvent] = []

        def has_ended() -> bool:
            events[:] = [event for event in map(read_call, self.receiver.calls) if event.data.job == job]
            return bool(events)

        wait_until(has_ended, f"the webhook reports job {job}", SECONDS)
        return events[0]


def read_call(call: Call) -> JobEvent:
    assert call.headers["defacer-signature"] == sign(SECRET, call.headers["defacer-timestamp"], call.body)
    return JobEvent.model_validate_json(call.body)


@pytest.fixture
def operator(rehearsal: Rehearsal, receiver: Receiver, clip: bytes) -> Operator:
    rehearsal.access.denied.clear()
    return Operator(rehearsal, receiver, clip)


def test_services_run_as_the_user_of_their_image(rehearsal: Rehearsal) -> None:
    assert set(rehearsal.services) == {
        "ingest", "worker", "merge", "dead-letter", "webhook", "console", "live"
    }  # fmt: skip
    for service in rehearsal.services.values():
        status = Path(f"/proc/{service.process.pid}/status").read_text()
        users = re.search(r"^Uid:(.*)$", status, re.MULTILINE)
        assert users
        assert set(users[1].split()) == {service.container.image.user} == {"10001"}
        assert "NoNewPrivs:\t1" in status


def test_each_role_is_needed_and_none_is_missing(operator: Operator, target: bytes) -> None:
    publish_a_job(operator, target)
    fail_a_job(operator)
    delete_a_source(operator)
    use_the_live_page(operator)
    use_the_console(operator)
    access = operator.rehearsal.access
    assert access.denied == []

    wait_for_a_role(operator)
    exhaust_a_message(operator)
    unused = {label(grant) for grant in set(access.grants) - access.necessary() if is_service(grant)}
    assert unused == set(OTHER_USES)


def publish_a_job(operator: Operator, target: bytes) -> None:
    buckets = operator.buckets
    buckets.put(buckets.intake, "channels/street/targets/astronaut.png", target)
    event = operator.wait_for_end(operator.upload("walk.mp4"))
    assert (event.type, event.data.result.name) == ("job.completed", "channels/street/walk.mp4")
    assert buckets.blob(buckets.output, "channels/street/walk.mp4").size > 1000


def fail_a_job(operator: Operator) -> None:
    event = operator.wait_for_end(operator.upload("broken.mp4", bytes(range(256)) * 8))
    assert (event.type, event.data.code) == ("job.failed", "not-a-video")


def delete_a_source(operator: Operator) -> None:
    buckets = operator.buckets
    buckets.put(buckets.intake, "channels/brief/policy.json", b'{"source_retention": "delete"}')
    job = operator.upload("walk.mp4", channel="brief")
    assert operator.wait_for_end(job).type == "job.completed"
    assert buckets.names(buckets.intake, "channels/brief/videos/") == []


def wait_for_a_role(operator: Operator) -> None:
    """Let a job wait for a role, requeue its dead letters, and grant the role: the job is published."""
    access, worker = operator.rehearsal.access, operator.rehearsal.member("worker")
    with access.without(grant_of(operator.rehearsal, "worker", "/segments-done")):
        job = operator.upload("later.mp4")
        wait_until(lambda: len(access.denied) > 1, "the worker is refused", SECONDS)
        manifest = operator.buckets.blob(operator.buckets.work, object_names.manifest(job))
        task = SegmentTask(job=job, index=0, step="detect", manifest=objects.reference(manifest))
        send_dead_letter(operator.rehearsal, "segment-task", task)
        send_dead_letter(operator.rehearsal, "segment-done", SegmentDone.model_validate(task.model_dump()))
        waiting = {
            grant_of(operator.rehearsal, "dead-letter", topic) for topic in ("/segments", "/segments-done")
        }
        wait_until(lambda: waiting <= access.necessary(), "dead-letter requeues both messages", SECONDS)
    assert {member for member, _ in access.denied} == {worker}
    assert operator.wait_for_end(job).type == "job.completed"
    access.denied.clear()


def send_dead_letter(rehearsal: Rehearsal, kind: str, document: Document) -> None:
    """Send a message to dead-letter as Pub/Sub does after its deliveries are exhausted."""
    attributes = {"type": kind, "CloudPubSubDeadLetterSourceDeliveryCount": "100"}
    message = {"data": document.model_dump_json().encode(), "attributes": attributes}
    with create_publisher(rehearsal.pubsub) as publisher:
        topic = f"projects/{PROJECT}/topics/dead-letters"
        publisher.publish(request={"topic": topic, "messages": [message]}, retry=None, timeout=30)


def exhaust_a_message(operator: Operator) -> None:
    """Let a job fail because a role stays missing."""
    access = operator.rehearsal.access
    with access.without(grant_of(operator.rehearsal, "ingest", "/segments")):
        event = operator.wait_for_end(operator.upload("never.mp4"))
    assert (event.type, event.data.code) == ("job.failed", "exhausted")
    assert {member for member, _ in access.denied} == {operator.rehearsal.member("ingest")}


def use_the_live_page(operator: Operator) -> None:
    with operator.rehearsal.browse("live", None) as address:
        assert requests.get(address, timeout=60).status_code == 403
    log = operator.rehearsal.services["live"].log_file
    with operator.rehearsal.browse("live", OWNER) as address:
        assert Service(address, log).start_stream(channel="street")["key"]


def use_the_console(operator: Operator) -> None:
    """Open the job as the channel's owner, start an upload, and erase the video."""
    with operator.rehearsal.browse("console", None) as address:
        Visitor(address, operator.buckets).open(address, 403)
    with operator.rehearsal.browse("console", OWNER) as address:
        visitor = Visitor(address, operator.buckets)
        visitor.open(visitor.url("brief", "jobs"), 403)
        erase_a_video(visitor, operator)


def erase_a_video(visitor: Visitor, operator: Operator) -> None:
    buckets = operator.buckets
    (job,) = {
        event.data.job
        for event in map(read_call, operator.receiver.calls)
        if event.type == "job.completed" and event.data.source.name == "channels/street/videos/walk.mp4"
    }
    assert "walk.mp4" in visitor.open(visitor.url("street", "jobs"))
    page = visitor.url("street", "jobs", job)
    visitor.open(page)
    source = visitor.session.get(f"{page}/source", allow_redirects=False, timeout=60)
    assert "X-Goog-Signature=" in source.headers["Location"]
    upload = {"name": "two.mp4", "size": "9", "type": "video/mp4"}
    assert visitor.post(visitor.url("street", "uploads"), upload).status_code == 200
    erased = visitor.post(f"{page}/erase")
    assert json.loads(erased.text.splitlines()[-1])["done"] is True, erased.text
    assert buckets.names(buckets.work, f"jobs/{job}/") == [object_names.failed(job)]
    assert buckets.names(buckets.output, "channels/street/walk") == []


def is_service(grant: Grant) -> bool:
    """Return whether a service's own account has this grant for storage, topics or secrets."""
    return grant.member.startswith("serviceAccount:defacer-") and not grant.role.startswith("roles/run.")


def label(grant: Grant) -> tuple[str, str, str]:
    """Return the account, the resource and the role of a grant, as OTHER_USES names them."""
    account = grant.member.removeprefix("serviceAccount:").partition("@")[0]
    condition = f" for {grant.condition.split(chr(34))[1]}" if grant.condition else ""
    return account, grant.resource.rpartition("/")[2], grant.role.rpartition("/")[2] + condition


def grant_of(rehearsal: Rehearsal, service: str, resource: str) -> Grant:
    (found,) = (
        grant
        for grant in rehearsal.access.grants
        if grant.member == rehearsal.member(service) and grant.resource.endswith(resource)
    )
    return found
