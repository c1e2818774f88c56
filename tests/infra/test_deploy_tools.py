"""infra/deploy.sh with the real gcloud and the real Terraform, against Google APIs on loopback (fake_google.py).

The stubs of test_deploy.py accept any arguments. The real gcloud rejects a bucket as a staging folder, and the real
Terraform prints a warning as the value of a missing output.
"""

import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.applying import SCHEMA
from tests.infra.fake_google import FakeGoogle, serve
from tests.infra.stub_provider import NUMBER, PROJECT, StubProvider
from tests.terraform import INFRA

ROOT = INFRA.parent
STATE = f"{PROJECT}-terraform"
QUOTA = "NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion"
ALERT = "De-facer: more than a tenth of the jobs fail"
NEW_METRIC = (
    "Error creating AlertPolicy: googleapi: Error 404: Cannot find metric(s) that match type = "
    '"logging.googleapis.com/user/defacer/jobs". If a metric was created recently, it could take up to 10 minutes to '
    "become available. Please try again soon."
)
APIS = (
    "artifactregistry", "cloudbuild", "cloudquotas", "cloudresourcemanager", "logging", "secretmanager",
    "serviceusage", "storage",
)  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed"),
    pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed"),
]


@dataclass
class Machine:
    """A machine with gcloud, Terraform and a checkout in `folder`, whose Google APIs are `google`."""

    folder: Path
    google: FakeGoogle
    environment: dict[str, str]
    provider: StubProvider | None = None

    def run(self, *command: str, answers: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command at a terminal that returns one line of `answers` per read, then an end of file."""
        terminal, keyboard = pty.openpty()
        os.write(terminal, answers.encode() + b"\x04")
        try:
            return subprocess.run(
                command, cwd=self.folder, env=self.environment | variables, stdin=keyboard,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            os.close(terminal)
            os.close(keyboard)

    def deploy(
        self, what: str = "deploy", answers: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        where = {"PROJECT": PROJECT, "REGION": "europe-west1", "PATIENCE_SECONDS": "0"}
        return self.run("bash", "infra/deploy.sh", what, answers=answers, **where | variables)

    def has_started_terraform(self) -> bool:
        return (self.folder / "infra/.terraform").exists()


def checkout(folder: Path) -> Path:
    """Copy the files that a deployment needs. One file of code is enough, because no image is built."""
    shutil.copytree(INFRA, folder / "infra", ignore=shutil.ignore_patterns(".terraform*", "*.tfvars"))
    shutil.copy(ROOT / "requirements-bootstrap.lock", folder)
    (folder / "functions").mkdir()
    (folder / "functions/code.py").write_text("pass\n")
    (folder / "video.mp4").write_bytes(b"not staged for the build")
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    google = FakeGoogle()
    with ExitStack() as stack:
        address = stack.enter_context(serve(google))
        (tmp_path / "token").write_text("some")
        (tmp_path / "login.json").write_text(
            '{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}'
        )
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME")},
            **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"{address}/" for api in APIS},
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
            "CLOUDSDK_AUTH_TOKEN_HOST": f"{address}/token",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "login.json"),
            "GOOGLE_OAUTH_ACCESS_TOKEN": "some",
            "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{address}/storage/v1/",
            "CHECKPOINT_DISABLE": "1",
        }  # fmt: skip
        machine = Machine(checkout(tmp_path / "checkout"), google, environment)
        if SCHEMA.exists():
            machine.provider = StubProvider(SCHEMA)
            machine.environment |= stack.enter_context(machine.provider.serve())
        yield machine


def quota(limit: int, region: str) -> list[dict[str, object]]:
    """Return Google's description of a quota of 3 in another region and of `limit` in `region`."""
    details = {"value": str(limit)} if limit else {}  # Google omits a value of 0
    return [
        {
            "dimensions": {"region": "us-east4"},
            "details": {"value": "3"},
            "applicableLocations": ["us-east4"],
        },
        {"details": details, "applicableLocations": ["europe-west4", region, "us-central1"]},
    ]


@pytest.mark.slow
@pytest.mark.skipif(not SCHEMA.exists(), reason="google_schema.json is missing in DEFACER_TOOLS")
def test_first_and_second_deployment_succeed(machine: Machine) -> None:
    assert machine.provider is not None
    machine.provider.rejections[ALERT] = [NEW_METRIC, NEW_METRIC]

    done = machine.deploy(answers="yes\nyes\n")

    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert done.stderr.count("Trying again in 30 s") == 2
    assert ALERT in {
        body["display_name"] for body in machine.provider.resources["google_monitoring_alert_policy"]
    }
    state = machine.google.buckets[STATE]
    assert state["location"] == "europe-west1"
    assert state["versioning"] == {"enabled": True}
    assert state["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert "REMOTE BUILD OUTPUT" in done.stdout  # gcloud shows the log
    (build,) = machine.google.builds
    assert build["region"] == "global"
    assert build["substitutions"]["_STAGES"] == "base cpu"
    source = build["source"]["storageSource"]
    assert source["bucket"] == f"{PROJECT}-builds"
    assert re.fullmatch(r"source/.+\.tgz", source["object"])
    (worker,) = (
        body for body in machine.provider.resources["google_cloud_run_v2_service"] if body["name"] == "worker"
    )
    ((container,),) = (template["containers"] for template in worker["template"])
    assert container["image"].endswith(f"/defacer/cpu:{build['substitutions']['_TAG']}")

    second = machine.deploy()

    assert second.returncode == 0, second.stdout + second.stderr
    assert len(machine.google.builds) == 1
    assert "No changes" in second.stdout


@pytest.mark.parametrize(("worker", "limit"), [("", 0), ("gpu", 0), ("gpu", 2)])
def test_only_gpu_workers_lead_to_a_warning_about_quota(worker: str, limit: int, machine: Machine) -> None:
    """Terraform prints a warning for an empty state, which must not become the worker."""
    if machine.provider is None:
        pytest.skip("DEFACER_TOOLS names no folder with google_schema.json")
    machine.google.quotas[QUOTA] = quota(limit, "europe-west1")
    done = machine.deploy(answers="no\n", WORKER=worker)
    assert done.returncode == 1
    problem = f"The quota {QUOTA} of {PROJECT} in europe-west1 is {limit}, but up to 3 GPU workers"
    assert (problem in done.stderr) == (worker == "gpu")
    assert machine.google.builds == []


@pytest.mark.parametrize("what", ["deploy", "destroy"])
def test_terraform_does_not_start_with_a_foreign_state_bucket(what: str, machine: Machine) -> None:
    machine.google.buckets[STATE] = {"name": STATE, "projectNumber": "666"}
    done = machine.deploy(what)
    assert done.returncode == 1
    assert f"gs://{STATE} belongs to project number 666, but {PROJECT} has number {NUMBER}" in done.stderr
    assert not machine.has_started_terraform()


def test_readme_command_stores_a_secret_without_a_line_break(machine: Machine) -> None:
    (command,) = re.findall(
        "^.*gcloud secrets create defacer-webhook.*$", (INFRA / "DEPLOYMENT.md").read_text(), re.M
    )
    done = machine.run("bash", "-c", command.replace("my-project", PROJECT))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rb"[0-9a-f]{64}", machine.google.secrets["defacer-webhook"])
