"""infra/deploy.sh with stubs of gcloud and terraform that record their arguments.

test_deploy_tools.py runs the script with the real programs where they are installed.
"""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.gcloud import find_refused, requires_gcloud
from tests.servers import ROOT
from tests.terraform import INFRA, resources

NUMBER = "123456789012"
RECORD = r"""#!/bin/sh
printf '%s' "{name}" >> "{calls}"
for argument in "$@"; do printf " '%s'" "$argument" >> "{calls}"; done
echo >> "{calls}"
case "$*" in
    {failing}) exit 1 ;;
    *"projects describe"*) echo {number} ;;
    *"buckets describe"*) echo {owner} ;;
    *"quotas info describe"*) printf '%b' '{limits}' ;;
    *" console "*) echo '"SomeQuota 3"' ;;
    *"output -raw registry") echo some.registry/p/defacer ;;
    *"output -raw builder") echo builder@example ;;
    *"output -raw builds") echo gs://some-project-builds ;;
    *"output -json") printf '%b' '{outputs}' ;;
esac
"""
# gcloud's output for the quota: the limit, then its regions. Google omits a limit of 0.
LIMITS = "3|europe-west1 us-east4 mars-1\\n|europe-west4 asia-southeast1\\n-1|us-central1\\n"
NO_OUTPUTS = "{}\\n"


def outputs(worker: str) -> str:
    """Return what `terraform output -json` prints after a deployment."""
    text = """{
  "results": {
    "sensitive": false,
    "type": "string",
    "value": "gpu"
  },
  "worker": {
    "sensitive": false,
    "type": "string",
    "value": "%s"
  }
}
"""
    return (text % worker).replace("\n", "\\n")


@dataclass
class Deployment:
    """Run the script and record its commands in `calls`. Commands that match the pattern `failing` fail."""

    folder: Path
    failing: str = "nothing"
    outputs: str = NO_OUTPUTS
    owner: str = NUMBER
    limits: str = LIMITS

    def run(self, what: str = "deploy", **variables: str) -> subprocess.CompletedProcess[str]:
        for name in ("gcloud", "terraform"):
            program = self.folder / name
            program.write_text(
                RECORD.format(
                    name=name, calls=self.folder / "calls", failing=self.failing, number=NUMBER,
                    owner=self.owner, limits=self.limits, outputs=self.outputs,
                )
            )  # fmt: skip
            program.chmod(0o755)
        environment = {
            **os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "PROJECT": "some-project",
            "REGION": "europe-west1", "PATIENCE_SECONDS": "0", **variables,
        }  # fmt: skip
        command = ["bash", str(ROOT / "infra/deploy.sh"), what]
        return subprocess.run(command, env=environment, input="", capture_output=True, text=True, check=False)

    @property
    def commands(self) -> list[list[str]]:
        path = self.folder / "calls"
        return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def calls(self) -> list[str]:
        return [" ".join(command) for command in self.commands]

    def index(self, *parts: str) -> int:
        (found,) = [i for i, call in enumerate(self.calls) if all(part in call for part in parts)]
        return found

    @property
    def changes(self) -> list[str]:
        """Return the calls that change something, including Terraform's initialization."""
        queries = ("describe", "print-access-token", "output", "console")
        return [call for call in self.calls if not any(word in call for word in queries)]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_images_are_built_before_services_and_terraform_asks(deployment: Deployment) -> None:
    deployment.failing = '*"images describe"*'
    done = deployment.run()
    assert done.returncode == 0, done.stderr
    registry = deployment.index(
        "terraform", "apply", "-target=google_artifact_registry_repository_iam_member.builder"
    )
    build = deployment.index(
        "gcloud beta builds submit",
        "_STAGES=base cpu,",
        "_REGISTRY=some.registry/p/defacer",
        "_CUDA=12",
        "--service-account builder@example",
    )
    everything = max(
        i for i, call in enumerate(deployment.calls) if call.startswith("terraform") and " apply " in call
    )
    assert registry < build < everything
    assert "-target" not in deployment.calls[everything]
    assert not [call for call in deployment.calls if "auto-approve" in call]
    tag = deployment.calls[build].split("_TAG=")[1].split(",")[0]
    assert f"-var tag={tag}" in deployment.calls[everything]
    assert len(tag) == 12


@requires_gcloud
def test_real_gcloud_accepts_every_command(deployment: Deployment, tmp_path: Path) -> None:
    for failing in ('*"images describe"*', '*"buckets describe"*'):
        deployment.failing = failing
        assert deployment.run().returncode == 0
    commands = {shlex.join(command) for command in deployment.commands if command[0] == "gcloud"}
    assert len({command.split(" --")[0] for command in commands}) > 8
    assert find_refused(commands, tmp_path) == {}


def test_source_is_staged_in_a_folder_of_the_bucket(deployment: Deployment) -> None:
    """gcloud rejects a bucket without an object path ("wrong collection")."""
    deployment.failing = '*"images describe"*'
    assert deployment.run().returncode == 0
    build = deployment.calls[deployment.index("builds submit")]
    assert "--gcs-source-staging-dir gs://some-project-builds/source " in build


@pytest.mark.parametrize(("given", "used"), [("", "global"), ("us-west2", "us-west2")])
def test_builds_run_in_the_global_pool_unless_a_region_is_given(
    given: str, used: str, deployment: Deployment
) -> None:
    deployment.failing = '*"images describe"*'
    assert deployment.run(BUILD_REGION=given).returncode == 0
    assert f"--region {used} " in deployment.calls[deployment.index("builds submit")]


def test_service_agents_exist_before_they_are_granted_roles(deployment: Deployment) -> None:
    assert deployment.run().returncode == 0
    first = next(i for i, call in enumerate(deployment.calls) if " apply " in call)
    for agent in ("pubsub", "artifactregistry", "iap"):
        service = f"{agent}.googleapis.com"
        created = deployment.index("gcloud beta services identity create", f"--service {service} ")
        assert deployment.index("gcloud services enable", service) < created < first


def test_existing_images_are_not_built_again(deployment: Deployment) -> None:
    assert deployment.run().returncode == 0
    assert not [call for call in deployment.calls if "builds submit" in call]


@pytest.mark.parametrize(("worker", "stages"), [("cpu", "base cpu"), ("gpu", "base cpu gpu")])
def test_only_gpu_workers_need_the_gpu_image(worker: str, stages: str, deployment: Deployment) -> None:
    deployment.failing = '*"images describe"*'
    assert deployment.run(WORKER=worker).returncode == 0
    assert f"_STAGES={stages}," in deployment.calls[deployment.index("builds submit")]
    assert f"-var worker={worker}" in deployment.calls[-1]


def test_documented_default_worker_is_deployed(deployment: Deployment) -> None:
    """Both tables of the page, the variable and the script have the same default. CAPACITY.md has the reason."""
    page = (INFRA / "DEPLOYMENT.md").read_text()
    documented = re.findall(
        r'^\| `(?:WORKER|worker)` \| (?:the deployed one; at first )?`"?(\w+)', page, re.M
    )
    variables = (INFRA / "variables.tf").read_text()
    (planned,) = re.findall(r'^variable "worker" {[^}]*?default += "(\w+)"', variables, re.M)
    assert deployment.run().returncode == 0
    (deployed,) = re.findall(r"-var worker=(\w+)", deployment.calls[-1])
    assert [*documented, planned, deployed] == ["cpu"] * 4
    assert "**CPU workers are cheaper**, so they are the default" in (INFRA / "CAPACITY.md").read_text()


def test_deployed_worker_stays_unless_another_is_given(deployment: Deployment) -> None:
    deployment.outputs = outputs("gpu")
    assert deployment.run(WORKER="").returncode == 0
    assert "-var worker=gpu" in deployment.calls[-1]
    assert deployment.run(WORKER="cpu").returncode == 0
    assert "-var worker=cpu" in deployment.calls[-1]


@pytest.mark.parametrize("printed", [NO_OUTPUTS, outputs("tpu"), "Warning: No outputs found\\n"])
def test_only_gpu_or_cpu_is_read_from_the_state(printed: str, deployment: Deployment) -> None:
    deployment.outputs = printed
    assert deployment.run(WORKER="").returncode == 0
    assert "-var worker=cpu" in deployment.calls[-1]


def test_unreadable_state_stops_the_deployment(deployment: Deployment) -> None:
    deployment.failing = '*"output -json"'
    assert deployment.run().returncode == 1
    assert not [call for call in deployment.calls if " apply " in call]


def test_rollback_to_a_deleted_image_changes_nothing(deployment: Deployment) -> None:
    deployment.failing = '*"images describe"*'
    done = deployment.run(TAG="0123456789ab")
    assert done.returncode == 1
    assert "has no image base:0123456789ab" in done.stderr
    assert not [call for call in deployment.calls if "builds submit" in call]
    assert [call for call in deployment.calls if " apply " in call and "-target" not in call] == []


def test_state_bucket_is_created_once(deployment: Deployment) -> None:
    deployment.failing = '*"buckets describe"*'
    assert deployment.run().returncode == 0
    created = deployment.index("buckets create gs://some-project-terraform", "--public-access-prevention")
    assert created < deployment.index("terraform", "init", "bucket=some-project-terraform")


def test_interrupted_state_bucket_gets_versioning_at_the_next_run(deployment: Deployment) -> None:
    deployment.failing = '*"buckets describe"*|*"buckets update"*'
    assert deployment.run().returncode == 1
    (deployment.folder / "calls").unlink()
    deployment.failing = "nothing"
    assert deployment.run().returncode == 0
    updated = deployment.index("buckets update gs://some-project-terraform --versioning")
    assert updated < deployment.index("terraform", "init")


@pytest.mark.parametrize("what", ["deploy", "destroy"])
def test_state_bucket_of_another_project_is_not_used(what: str, deployment: Deployment) -> None:
    deployment.owner = "666"
    done = deployment.run(what)
    assert done.returncode == 1
    assert (
        f"gs://some-project-terraform belongs to project number 666, but some-project has number {NUMBER}"
        in (done.stderr)
    )
    assert not [call for call in deployment.calls if call.startswith("terraform")]


def test_state_bucket_with_a_taken_name_is_not_used(deployment: Deployment) -> None:
    deployment.failing = '*"buckets describe"*|*"buckets create"*'
    done = deployment.run()
    assert done.returncode == 1
    assert "gs://some-project-terraform could not be created. If the name is taken" in done.stderr
    assert not [call for call in deployment.calls if call.startswith("terraform")]


def test_destroy_uses_the_state_and_terraform_asks(deployment: Deployment) -> None:
    assert deployment.run("destroy").returncode == 0
    assert not [call for call in deployment.calls if "buckets create" in call or "auto-approve" in call]
    assert "bucket=some-project-terraform" in deployment.calls[-2]
    assert deployment.calls[-1].startswith("terraform -chdir=infra destroy")


@pytest.mark.parametrize(
    ("failing", "sentence"),
    [
        ('*"projects describe"*', "Your login cannot see a project some-project. Run gcloud auth login"),
        (
            '*"print-access-token"*',
            "Terraform has no login of its own. Run gcloud auth application-default login.",
        ),
    ],
)
@pytest.mark.parametrize("what", ["deploy", "destroy"])
def test_missing_login_stops_before_any_change(
    deployment: Deployment, what: str, failing: str, sentence: str
) -> None:
    deployment.failing = failing
    done = deployment.run(what)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert deployment.changes == []


@pytest.mark.parametrize(
    ("what", "failing"),
    [("deploy", '*"services enable"*'), ("deploy", '*" apply "*'), ("destroy", '*" destroy "*')],
)
def test_error_states_that_the_same_command_continues(
    deployment: Deployment, what: str, failing: str
) -> None:
    deployment.failing = failing
    done = deployment.run(what)
    assert done.returncode == 1
    assert done.stderr.count("The command stopped with status 1.") == 1
    assert "run the same\ncommand again" in done.stderr


def test_destroy_without_a_deployment_changes_nothing(deployment: Deployment) -> None:
    deployment.failing = '*"buckets describe"*'
    done = deployment.run("destroy")
    assert done.returncode == 1
    assert "Found nothing to remove" in done.stderr
    assert "gs://some-project-terraform" in done.stderr
    assert deployment.changes == []


@pytest.mark.parametrize(
    ("region", "problem"),
    [
        ("europe-west4", "The quota SomeQuota of some-project in europe-west4 is 0, but up to 3 GPU workers"),
        ("us-west1", "The quota SomeQuota of some-project in us-west1 is 0, but up to 3 GPU workers"),
        ("us-west1", "Cloud Run has no L4 GPUs in us-west1 as far as known. It has them in: us-central1"),
        ("mars-1", "Cloud Run has no L4 GPUs in mars-1"),
    ],
)
def test_gpu_workers_without_gpu_or_quota_lead_to_a_warning(
    region: str, problem: str, deployment: Deployment
) -> None:
    done = deployment.run(WORKER="gpu", REGION=region)
    assert done.returncode == 0, done.stderr
    assert problem in done.stderr
    assert "deploy CPU workers, which need no GPU (WORKER=cpu)" in done.stderr
    warned = deployment.index("quotas info")
    assert not [call for call in deployment.calls[:warned] if " apply " in call or "builds submit" in call]
    assert "-var worker=gpu" in deployment.calls[-1]


def test_warning_states_the_costs_of_the_capacity_model(deployment: Deployment) -> None:
    done = deployment.run(WORKER="gpu", REGION="europe-west4")
    rows = [line.split("|") for line in (INFRA / "CAPACITY.md").read_text().splitlines()]
    costs = {row[2].split()[0]: row[6].strip() for row in rows if len(row) > 9 and row[1].strip() == "1080p"}
    assert set(costs) == {"CPU", "L4"}
    assert f"A minute of 1080p video costs {costs['CPU']} on them" in done.stderr
    assert f"{costs['L4']} on an L4 by assumed speed" in done.stderr


@pytest.mark.parametrize("region", ["europe-west1", "us-central1"])
def test_sufficient_quota_leads_to_no_warning(region: str, deployment: Deployment) -> None:
    done = deployment.run(WORKER="gpu", REGION=region)
    assert done.returncode == 0, done.stderr
    assert "quota" not in done.stderr
    assert "-var worker=gpu" in deployment.calls[-1]


def test_unreadable_quota_does_not_stop_the_deployment(deployment: Deployment) -> None:
    deployment.failing = '*"quotas info"*'
    done = deployment.run(WORKER="gpu")
    assert done.returncode == 0, done.stderr
    assert "Could not read the GPU quota" in done.stderr
    assert "-var worker=gpu" in deployment.calls[-1]


@pytest.mark.parametrize("worker", ["", "cpu"])
def test_cpu_workers_need_no_quota_check(worker: str, deployment: Deployment) -> None:
    done = deployment.run(WORKER=worker, REGION="mars-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert not [call for call in deployment.calls if "quotas info" in call]


def test_retried_alert_is_the_only_one_on_a_custom_metric() -> None:
    script = (INFRA / "deploy.sh").read_text()
    (retried,) = re.findall("^METRIC_ALERT=(.+)$", script, re.MULTILINE)
    on_custom_metrics = [
        f"google_monitoring_alert_policy.{name}"
        for name, body in resources("google_monitoring_alert_policy").items()
        if "logging.googleapis.com/user" in str(body)
    ]
    assert on_custom_metrics == [retried]


def test_another_cuda_leads_to_another_tag(deployment: Deployment) -> None:
    deployment.failing = '*"images describe"*'
    tags = set()
    for cuda in ("12", "13"):
        assert deployment.run(CUDA=cuda).returncode == 0
        tags |= {call.split("_TAG=")[1].split(",")[0] for call in deployment.calls if f"_CUDA={cuda}" in call}
    assert len(tags) == 2


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PROJECT": ""}, "make deploy PROJECT=my-project REGION=europe-west1"),
        ({"PROJECT": "My Project"}, "PROJECT=My Project: expected a project's id"),
        (
            {"REGION": "europe-west4-a"},
            "REGION=europe-west4-a is a zone: expected a region, such as europe-west4.",
        ),
        ({"REGION": "europe-west12-b"}, "expected a region, such as europe-west12."),
        (
            {"BUILD_REGION": "us-west2-a"},
            "BUILD_REGION=us-west2-a is a zone: expected a region, such as us-west2.",
        ),
        ({"WORKER": "tpu"}, "WORKER=tpu: expected cpu or gpu."),
        ({"CUDA": "11"}, "CUDA=11: infra/locks/cuda11.lock does not exist. Expected 12 or 13."),
    ],
)
def test_invalid_argument_is_reported_before_any_change(
    variables: dict[str, str], sentence: str, deployment: Deployment
) -> None:
    done = deployment.run(**variables)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert deployment.calls == []
