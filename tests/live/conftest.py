"""What the live tests share: the clip, the models, a target's picture."""

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
    made = Engine()
    made.warm_up(Options())
    return made


@pytest.fixture(scope="session")
def gallery(engine: Engine, target: bytes) -> Gallery:
    return engine.gallery([Picture("astronaut", "the target", target)], "sface")
