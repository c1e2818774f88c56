"""Fixtures of the live tests: the clip, the engine, the target's picture and gallery."""

import pytest

from defacer.engine.engine import Engine
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer_emulator.demo.demo_clip import write_target_picture
from tests.live.pictures import Clip


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
