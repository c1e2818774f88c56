"""Both Pub/Sub emulators, each for the whole session, and official clients for them."""

import uuid
from collections.abc import Iterator

import pytest
from google.cloud import pubsub_v1

from tests.contract.pubsub_client import Client
from tests.contract.pubsub_servers import PubSub, builtin_pubsub, google_pubsub

PUBSUBS = {"builtin": builtin_pubsub, "google": google_pubsub}


# Google's emulator only shows that these tests describe Pub/Sub. It changes with its package, not with this repository.
@pytest.fixture(scope="session", params=["builtin", pytest.param("google", marks=pytest.mark.slow)])
def pubsub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSub]:
    with PUBSUBS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture
def client(pubsub: PubSub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.address)
    publisher = pubsub_v1.PublisherClient()
    with pubsub_v1.SubscriberClient() as subscriber:
        client = Client(f"p{uuid.uuid4().hex[:12]}", publisher, subscriber)
        yield client
        # A later test's endpoint might be assigned the port that these subscriptions push to.
        client.delete_subscriptions()
    publisher.stop()
    publisher.transport.close()
