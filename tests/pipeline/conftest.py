"""The real functions on the emulator, once with each Pub/Sub emulator."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from defacer.commands.app import main
from defacer.pipeline.documents.job_records import Failed, Published
from defacer.pipeline.storage import object_names
from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.emulator import Receiver as WebhookOptions
from defacer_emulator.pubsub.google import INSTALL_HINT, find_google_emulator
from tests.receiver import Receiver, open_receiver

# `upload` accepts it: its first bytes are not those of a text, a picture or a document.
NOISE = bytes(range(256)) * 8
WEBHOOK_SECRET = "only for the tests of this repository"  # noqa: S105 - no secret
CLIP_SECONDS, CLIP_SIZE, CLIP_RATE = 4.0, (640, 360), 15
# The clip has a key frame every 2 s, so it has two segments.
VARIABLES = (("DEFACER_SEGMENT_SECONDS", "2"), ("DEFACER_LEASE_SECONDS", "20"))


@dataclass(frozen=True)
class CommandResult:
    """The output and the exit code of a command."""

    code: int
    out: str
    errors: str

    @property
    def job(self) -> str:
        return self.out.splitlines()[0]


@dataclass(frozen=True)
class Pipeline:
    """A running emulator, its command line and its buckets."""

    emulator: Emulator
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str | Path) -> CommandResult:
        """Run a command of `defacer` in this process."""
        self.capture.readouterr()
        code = main([*map(str, arguments), "--dir", str(self.emulator.folder.path)])
        output = self.capture.readouterr()
        return CommandResult(code, output.out, output.err)

    def upload(self, video: Path, *arguments: str | Path) -> CommandResult:
        return self.run("emulator", "upload", video, *arguments)

    def put(self, name: str, data: bytes) -> None:
        """Write into the intake bucket without the checks of `upload`."""
        self.emulator.storage_client().bucket(self.emulator.intake).blob(name).upload_from_string(data)

    def list_names(self, bucket: str, prefix: str) -> list[str]:
        return sorted(blob.name for blob in self.emulator.storage_client().list_blobs(bucket, prefix=prefix))

    def get_blob(self, bucket: str, name: str) -> Any:
        return self.emulator.storage_client().bucket(bucket).get_blob(name)

    def read_failed(self, job: str) -> Failed:
        return Failed.model_validate_json(
            self.get_blob(self.emulator.work, object_names.failed(job)).download_as_bytes()
        )

    def read_published(self, job: str) -> Published | None:
        blob = self.get_blob(self.emulator.work, object_names.published(job))
        return Published.model_validate_json(blob.download_as_bytes()) if blob else None


@pytest.fixture(scope="module")
def webhook() -> Iterator[Receiver]:
    """Open the webhook receiver of this module's emulator."""
    with open_receiver() as receiver:
        yield receiver


# tests/contract holds both Pub/Subs to the same behavior: the built-in one on every commit, Google's in the slow tests.
@pytest.fixture(scope="module", params=["builtin", pytest.param("google", marks=pytest.mark.slow)])
def emulator(
    request: pytest.FixtureRequest, webhook: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulator]:
    if request.param == "google" and find_google_emulator() is None:
        pytest.skip(f"Google's Pub/Sub emulator is not installed: {INSTALL_HINT}")
    folder = tmp_path_factory.mktemp(f"emulator-{request.param}")
    receiver = WebhookOptions(webhook.address, WEBHOOK_SECRET)
    with Emulator(EmulatorOptions(folder, request.param, variables=VARIABLES, receiver=receiver)) as running:
        yield running
        for name, log in running.log_files():  # printed if a test of this module fails
            sys.stderr.write(f"---- {name}\n{log.read_text(errors='replace')}\n")


@pytest.fixture
def pipeline(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> Pipeline:
    return Pipeline(emulator, capsys)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a short, small demo clip of the astronaut and the admiral."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_demo_clip(path, CLIP_SECONDS, CLIP_SIZE, CLIP_RATE)
    return path


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target") / "astronaut.png"
    write_target_picture(path)
    return path
