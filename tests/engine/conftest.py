"""Fixtures of the engine's tests: models that are loaded once, and the demo clip of two people with one target."""

from pathlib import Path

import pytest

from defacer.engine.engine import Engine
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture

DEMO_SECONDS, DEMO_SIZE, DEMO_RATE = 4.0, (640, 360), 30


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="session")
def demo_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "clip.mp4"
    make_demo_clip(path, DEMO_SECONDS, DEMO_SIZE, DEMO_RATE)
    return path


@pytest.fixture(scope="session")
def gallery(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    path = tmp_path_factory.mktemp("target") / "astronaut.png"
    write_target_picture(path)
    return engine.gallery([Picture("astronaut", path.name, path.read_bytes())], "sface")
