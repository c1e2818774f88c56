"""Fixtures of the live tests: the clip, the engine, the target's picture and gallery."""

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from defacer.engine.engine import Engine
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer_emulator.demo.demo_clip import write_target_picture
from tests.cloud import PROJECT
from tests.live.pictures import Clip
from tests.live.service import BUCKETS


@pytest.fixture(scope="session")
def clip() -> Clip:
    return Clip()


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("target") / "astronaut.png"
    write_target_picture(path)
    return path.read_bytes()


@pytest.fixture(scope="session")
def engine() -> Engine:
    engine = Engine()
    engine.preload_models(Options())
    return engine


@pytest.fixture(scope="session")
def gallery(engine: Engine, target: bytes) -> Gallery:
    return engine.gallery([Picture("astronaut", "the target", target)], "sface")


@pytest.fixture(scope="session")
def intake(storage_address: str) -> storage.Bucket:
    """Create the buckets of the service, and return the one with the channels."""
    client = storage.Client(
        PROJECT, AnonymousCredentials(), client_options=ClientOptions(api_endpoint=storage_address)
    )
    for name in BUCKETS:
        client.create_bucket(name)
    return client.bucket(BUCKETS[0])
