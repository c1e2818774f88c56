"""One emulator for all tests of inputs."""

from collections.abc import Iterator

import pytest

from defacer_emulator.emulator import Emulator, EmulatorOptions


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Start an emulator that cuts videos into segments of a second."""
    variables = (("DEFACER_SEGMENT_SECONDS", "1"),)
    with Emulator(
        EmulatorOptions(tmp_path_factory.mktemp("emulator"), "builtin", variables=variables)
    ) as running:
        yield running
