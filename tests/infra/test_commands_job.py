"""The Cloud Run job `commands` runs stored command lines, with the environment of its image and its own grants."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from defacer_emulator.services.storage import create_client
from tests.cloud import Buckets
from tests.console.published_job import publish_example
from tests.infra.applying import Project
from tests.infra.containers import Container
from tests.infra.guards import Access, guard_storage
from tests.infra.stub_provider import PROJECT
from tests.permissions import read_grants

pytestmark = pytest.mark.parametrize("project", ["defaults"], indirect=True)
PICTURE = "channels/street/targets/Ada/1.png"


@dataclass
class CommandsJob:
    """The job in a project of its own. `logged` is all that its executions printed, as Cloud Logging stores it."""

    container: Container
    access: Access
    storage: str
    buckets: Buckets
    folder: Path
    logged: str = ""

    def store(self, name: str, line: str) -> None:
        self.buckets.put(self.buckets.work, f"commands/{name}", line.encode())

    def execute(self, *arguments: str) -> int:
        """Execute the job with these arguments, and return its exit code."""
        with guard_storage(self.storage, self.container.member, self.access) as address:
            environment = {
                **self.container.image.environment(self.folder),
                **self.container.environment({}),
                "STORAGE_EMULATOR_HOST": address,
                "PUBSUB_EMULATOR_HOST": "127.0.0.1:9",
                "HOME": str(self.folder),
                "PYTHONSAFEPATH": os.environ.get("PYTHONSAFEPATH", ""),
            }
            command = [*self.container.command(0), *arguments]
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
            )
        self.logged += done.stdout + done.stderr
        return done.returncode

    def read_output(self, name: str) -> str:
        return self.buckets.get(self.buckets.work, f"commands/{name}.out").decode()


@pytest.fixture
def job(project: Project, storage_address: str, buckets: Buckets, tmp_path: Path) -> Iterator[CommandsJob]:
    (body,) = project.resources("cloud_run_v2_job")
    (template,) = body["template"]
    container = Container({"name": body["name"], "template": template["template"]})
    container.image.copy_files(tmp_path / "app")
    with _project_buckets(storage_address) as own:
        yield CommandsJob(
            container, Access(read_grants(project.provider.resources)), storage_address, own, tmp_path / "app"
        )


@contextmanager
def _project_buckets(storage_address: str) -> Iterator[Buckets]:
    """Yield the project's buckets. Other tests use buckets of these names, and can leave them."""
    client = create_client(PROJECT, storage_address)
    names = [f"{PROJECT}-{kind}" for kind in ("intake", "work", "output")]
    for name in names:
        if (left := client.bucket(name)).exists():
            left.delete(force=True)
        client.create_bucket(name)
    try:
        yield Buckets(client, *names)
    finally:
        for name in names:
            client.bucket(name).delete(force=True)
        client.close()


def test_person_is_forgotten_and_no_log_has_the_name(job: CommandsJob) -> None:
    job.buckets.put(job.buckets.intake, PICTURE, b"a picture")
    job.store("1", "defacer person forget Ada --channel street --rerender --yes")
    assert job.execute("1") == 0, job.logged
    assert job.buckets.names(job.buckets.intake) == []
    assert f"removed gs://{job.buckets.intake}/{PICTURE}" in job.read_output("1")
    assert job.buckets.names(job.buckets.work) == ["commands/1.out"]
    assert job.logged == (
        f"The command ended with exit code 0. Its output is in gs://{job.buckets.work}/commands/1.out.\n"
    )
    assert job.access.denied == []


def test_failed_command_keeps_its_line_and_fails_the_execution(job: CommandsJob) -> None:
    job.store("1", "person forget Ada --channel street --yes")
    for _ in range(2):
        assert job.execute("1") == 1
        assert "Nothing of Ada is stored in channel street." in job.read_output("1")
    job.store("2", "job rerender 'unfinished")
    assert job.execute("2") == 2
    assert "The object is not a command line: No closing quotation" in job.read_output("2")
    assert "Ada" not in job.logged
    assert job.execute("3") == 2
    assert job.execute() == 2
    assert f"gs://{job.buckets.work}/commands/3 does not exist" in job.logged


def test_job_is_erased_and_rerendered_with_the_grants_of_the_job(job: CommandsJob, tmp_path: Path) -> None:
    published = publish_example(job.buckets, tmp_path)
    job.store("rerender", f"job rerender {published.job} --hide 0 --json")
    assert job.execute("rerender") == 0, job.read_output("rerender")
    job.store("erase", f"job erase {published.job} --yes")
    assert job.execute("erase") == 0, job.read_output("erase")
    assert job.buckets.names(job.buckets.output) == []
    assert job.access.denied == []
