"""Run the applied Terraform on this machine: its buckets, topics, subscriptions and services, with its grants.

Each service is a process with the command, environment and user of its container. A guard before Cloud Storage and
Pub/Sub refuses what the grants of its account do not allow. Cloud Run's own checks are here too: Pub/Sub's account
calls a service, and a service's account reads a secret, only if a grant allows it.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.pubsub_v1 import types

from defacer_emulator.pubsub.delivery_policy import MAX_OUTSTANDING_LABEL
from defacer_emulator.services.messaging import add_subscriptions, create_publisher
from defacer_emulator.services.storage import create_client, find_binary
from tests.cloud import Buckets
from tests.console.identity import Signer
from tests.infra.applying import Project
from tests.infra.cloud_platform import browse, open_platform
from tests.infra.containers import Container, RunningContainer, run_container
from tests.infra.guards import Access, guard_publisher, guard_storage
from tests.infra.stub_provider import NUMBER, PROJECT
from tests.permissions import Need, read_grants
from tests.servers import free_port, pubsub_server, wait_until

SECRET = "only for the tests of this repository"  # noqa: S105 - no secret
STORAGE_AGENT = f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
PUBSUB_AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
# Terraform's retries take 10 to 600 s.
FAST_RETRIES = types.RetryPolicy(
    minimum_backoff=timedelta(seconds=0.2), maximum_backoff=timedelta(seconds=0.5)
)


@dataclass
class Rehearsal:
    """The running services by name, their buckets, and the access of their accounts.

    `proxy` signs the users' tokens.
    """

    project: Project
    buckets: Buckets
    access: Access
    pubsub: str
    proxy: Signer
    services: dict[str, RunningContainer] = field(default_factory=dict)

    def member(self, service: str) -> str:
        return self.services[service].container.member

    @contextmanager
    def browse(self, page: str, email: str | None) -> Iterator[str]:
        """Yield the address of a page for a user that Identity-Aware Proxy verified, or without a user."""
        service = self.services[page]
        environment = service.container.environment({})
        origin = environment[f"DEFACER_{page.upper()}_ORIGINS"].split(",")[0]
        headers = self.proxy.headers(email, aud=environment["DEFACER_IAP_AUDIENCE"]) if email else {}
        with browse(service.address, origin, headers) as address:
            yield address


@contextmanager
def rehearse(project: Project, folder: Path) -> Iterator[Rehearsal]:
    """Start everything, and wait until all services are healthy."""
    access = Access(read_grants(project.provider.resources))
    with ExitStack() as stack:
        pubsub = stack.enter_context(pubsub_server())
        _create_topics(project, pubsub)
        storage = stack.enter_context(_serve_storage(project, access, pubsub))
        client = create_client(PROJECT, storage)
        stack.callback(client.close)
        wait_until(lambda: _is_up(client), "fake-gcs-server answered")
        for bucket in project.resources("storage_bucket"):
            client.create_bucket(bucket["name"])
        names = (f"{PROJECT}-{kind}" for kind in ("intake", "work", "output"))
        platform = stack.enter_context(open_platform(folder, access))
        rehearsal = Rehearsal(project, Buckets(client, *names), access, pubsub, platform.proxy)
        containers = [Container(body, folder / "venvs") for body in project.resources("cloud_run_v2_service")]
        for image in {container.image for container in containers}:
            image.install()
        for container in containers:
            environment = _environment(container, access)
            environment |= stack.enter_context(platform.environment_of(container.member))
            environment |= {
                "STORAGE_EMULATOR_HOST": stack.enter_context(
                    guard_storage(storage, container.member, access)
                ),
                "PUBSUB_EMULATOR_HOST": stack.enter_context(
                    guard_publisher(pubsub, container.member, access)
                ),
            }
            running = run_container(container, folder / container.name, environment, platform.hosts)
            rehearsal.services[container.name] = stack.enter_context(running)
        for running_service in rehearsal.services.values():
            running_service.wait_until_healthy()
        _create_subscriptions(rehearsal)
        yield rehearsal


def _environment(container: Container, access: Access) -> dict[str, str]:
    secrets = {}
    for variable, need in container.needed_secrets():
        assert access.allows(container.member, need), f"{container.name} is not allowed to read its secret"
        secrets[variable] = SECRET
    return container.environment(secrets)


def _create_topics(project: Project, pubsub: str) -> None:
    with create_publisher(pubsub) as publisher:
        for topic in project.resources("pubsub_topic"):
            publisher.create_topic(request={"name": topic["id"]}, retry=None, timeout=30)


@contextmanager
def _serve_storage(project: Project, access: Access, pubsub: str) -> Iterator[str]:
    """Serve Cloud Storage, which publishes uploads as the notification says."""
    (notification,) = project.resources("storage_notification")
    topic = notification["topic"]
    assert access.allows(STORAGE_AGENT, Need("pubsub.topics.publish", topic)), "uploads are not announced"
    assert notification["event_types"] == ["OBJECT_FINALIZE"]
    port = free_port()
    command = [
        str(find_binary()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
        "-external-url", f"http://127.0.0.1:{port}", "-log-level", "error",
        "-event.pubsub-project-id", PROJECT, "-event.pubsub-topic", topic.rpartition("/")[2],
        "-event.bucket", notification["bucket"], "-event.list", "finalize",
        "-event.object-prefix", notification["object_name_prefix"],
    ]  # fmt: skip
    process = subprocess.Popen(command, env={"PUBSUB_EMULATOR_HOST": pubsub})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _is_up(client: Any) -> bool:
    try:
        return list(client.list_buckets(timeout=1, retry=None)) == []
    except Exception:  # noqa: BLE001 - whatever a server that is starting causes
        return False


def _create_subscriptions(rehearsal: Rehearsal) -> None:
    requests = [_subscription(rehearsal, body) for body in rehearsal.project.resources("pubsub_subscription")]
    add_subscriptions(rehearsal.pubsub, requests)


def _subscription(rehearsal: Rehearsal, body: Mapping[str, Any]) -> types.Subscription:
    """Return the subscription as Terraform creates it, with the address of the process and fast retries."""
    path = f"projects/{PROJECT}/subscriptions/{body['name']}"
    request = types.Subscription(name=path, topic=body["topic"])
    for push in body["push_config"]:
        service = push["push_endpoint"].removeprefix("https://").partition(".")[0]
        (token,) = push["oidc_token"]
        pusher = f"serviceAccount:{token['service_account_email']}"
        invoke = Need("run.routes.invoke", f"services/{service}")
        assert rehearsal.access.allows(pusher, invoke), f"Pub/Sub is not allowed to call {service}"
        running = rehearsal.services[service]
        request.push_config = types.PushConfig(push_endpoint=running.address)
        request.labels[MAX_OUTSTANDING_LABEL] = str(running.container.concurrency)
        request.ack_deadline_seconds = int(body["ack_deadline_seconds"])
        request.retry_policy = FAST_RETRIES
    for policy in body["dead_letter_policy"]:
        topic = policy["dead_letter_topic"]
        needs = (
            Need("pubsub.topics.publish", topic),
            Need("pubsub.subscriptions.consume", f"subscriptions/{body['name']}"),
        )
        assert all(rehearsal.access.allows(PUBSUB_AGENT, need) for need in needs), "dead letters are lost"
        request.dead_letter_policy = types.DeadLetterPolicy(
            dead_letter_topic=topic, max_delivery_attempts=int(policy["max_delivery_attempts"])
        )
    return request
