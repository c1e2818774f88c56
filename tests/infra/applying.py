"""infra/, applied by Terraform itself to an empty project that a stand-in for the provider makes up."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra.stand_in_provider import PROJECT, StandIn
from tests.infra.test_terraform import TOOLS
from tests.terraform import INFRA

SCHEMA = TOOLS / "google_schema.json"
REGION = "europe-west4"
KEY = f"projects/p/locations/{REGION}/keyRings/r/cryptoKeys/k"
TAG = "0123456789ab"
EVERYTHING = (
    'webhook={url="https://example.com/defacer",secret_name="some-name"}',
    'live={members=["user:ada@example.com"],hosts=["cameras.example.com"]}',
    "worker=cpu",
    "alert_email=me@example.com",
    "billing_account=000000-000000-000000",
    'console={members=["user:ada@example.com"],origins=["https://console.example.com"]}',
    "keep_sources_days=30",
    f"kms_key_name={KEY}",
)


@dataclass
class Project:
    """An empty project in `folder`; `made` is what was applied to it, by type."""

    folder: Path
    provider: StandIn
    environment: dict[str, str]
    variables: tuple[str, ...]

    def terraform(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["terraform", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def apply(self, *options: str) -> None:
        done = self.terraform("apply", "-auto-approve", "-input=false", "-no-color", *self.given, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    def changes(self) -> str:
        """What would still change."""
        done = self.terraform("plan", "-detailed-exitcode", "-input=false", "-no-color", *self.given)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    @property
    def given(self) -> list[str]:
        known = (f"project={PROJECT}", f"region={REGION}", f"tag={TAG}")
        return [f"-var={variable}" for variable in (*known, *self.variables)]

    def made(self, kind: str) -> list[dict[str, Any]]:
        return self.provider.made.get(f"google_{kind}", [])


def first_targets() -> list[str]:
    """What infra/deploy.sh has made before it builds."""
    text = (INFRA / "deploy.sh").read_text()
    found = [word.removeprefix("-target=") for word in text.split() if word.startswith("-target=")]
    assert found
    return found
