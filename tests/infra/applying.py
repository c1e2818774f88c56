"""Apply infra/ with the real Terraform to an empty project of the stub provider, or read the record of an apply."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infra.recorded_apply import Record
from tests.infra.stub_provider import PROJECT, StubProvider
from tests.infra.test_terraform import TOOLS
from tests.terraform import INFRA

SCHEMA = TOOLS / "google_schema.json"
REGION = "europe-west4"
KEY = f"projects/p/locations/{REGION}/keyRings/r/cryptoKeys/k"
TAG = "0123456789ab"
ALL_VARIABLES = (
    'webhook={url="https://example.com/defacer",secret_name="some-name"}',
    'live={members=["user:ada@example.com"],hosts=["cameras.example.com"]}',
    "worker=gpu",
    "alert_email=me@example.com",
    "billing_account=000000-000000-000000",
    'console={administrators=["user:ada@example.com"],origins=["https://console.example.com"]}',
    'channels={street={owners=["user:olga@example.com"],uploaders=["group:crew@example.com","group:crew@example.com"],viewers=["user:vera@example.com"]},'
    'streetside={owners=["domain:side.example"],uploaders=["user:udo@example.com"],viewers=["user:wim@example.com"]}}',
    "keep_sources_days=30",
    "audit_data_access=true",
    f"kms_key_name={KEY}",
)
RECEIVER = "https://receiver.example"
# The variables of each recorded apply.
VARIABLES = {
    "defaults": (),
    "all-variables": ALL_VARIABLES,
    "rehearsal": (
        f'webhook={{url="{RECEIVER}/jobs",secret_name="some-name"}}',
        'console={administrators=["user:ada@example.com"]}',
        'channels={street={owners=["user:olga@example.com"]}}',
        'live={members=["user:ada@example.com"]}',
    ),
}


@dataclass
class Project:
    """An empty project in `folder`. `record` is the name of its recorded apply."""

    record: str
    folder: Path
    provider: StubProvider | Record
    environment: dict[str, str]

    @property
    def variables(self) -> tuple[str, ...]:
        return VARIABLES[self.record]

    def terraform(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["terraform", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def require_terraform(self) -> None:
        """Skip the test without Terraform."""

    def apply(self, *options: str) -> None:
        done = self.terraform(
            "apply", "-auto-approve", "-input=false", "-no-color", *self.variable_options, *options
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def plan_changes(self) -> str:
        """Return Terraform's plan, or "" if nothing would change."""
        done = self.terraform(
            "plan", "-detailed-exitcode", "-input=false", "-no-color", *self.variable_options
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr

    @property
    def variable_options(self) -> list[str]:
        required = (f"project={PROJECT}", f"region={REGION}", f"tag={TAG}")
        return [f"-var={variable}" for variable in (*required, *self.variables)]

    def resources(self, kind: str) -> list[dict[str, Any]]:
        """Return the applied resources of a type, without its prefix `google_`."""
        return self.provider.resources.get(f"google_{kind}", [])


class RecordedProject(Project):
    """A project without Terraform, after its recorded apply."""

    def require_terraform(self) -> None:
        pytest.skip("requires terraform, and google_schema.json in the folder that DEFACER_TOOLS names")

    def terraform(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.require_terraform()
        return super().terraform(*arguments)

    def apply(self, *options: str) -> None:
        """Do nothing: the record has the resources of an apply without options."""


@contextmanager
def apply_project(folder: Path, record: str) -> Iterator[Project]:
    """Initialize Terraform in a copy of infra/ for an empty project. Without Terraform, read the record of an apply."""
    if not shutil.which("terraform") or not SCHEMA.exists():
        yield RecordedProject(record, folder, Record.read(record), {})
        return
    provider = StubProvider(SCHEMA)
    for path in (*INFRA.glob("*.tf"), *INFRA.glob("*.tftpl")):
        shutil.copy(path, folder)
    (folder / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    with provider.serve() as served:
        project = Project(record, folder, provider, {**os.environ, **served, "CHECKPOINT_DISABLE": "1"})
        done = project.terraform("init", "-input=false", "-no-color")
        assert done.returncode == 0, done.stdout + done.stderr
        yield project


def first_targets() -> list[str]:
    """Return the targets that infra/deploy.sh applies before it builds the images."""
    text = (INFRA / "deploy.sh").read_text()
    found = [word.removeprefix("-target=") for word in text.split() if word.startswith("-target=")]
    assert found
    return found
