"""infra/deploy.sh against stand-ins for gcloud and terraform that record their arguments.

test_deploy_tools.py runs it with the real ones, where they are installed.
"""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import ROOT
from tests.terraform import INFRA, resources

NUMBER = "123456789012"
RECORD = r"""#!/bin/sh
printf '%s' "{name}" >> "{calls}"
for argument in "$@"; do printf " '%s'" "$argument" >> "{calls}"; done
echo >> "{calls}"
case "$*" in
    {refused}) exit 1 ;;
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
# How gcloud prints the quota: the limit, then the regions that it is for. Google leaves out a limit of 0.
LIMITS = "3|europe-west1 us-east4 mars-1\\n|europe-west4 asia-southeast1\\n-1|us-central1\\n"
NO_OUTPUTS = "{}\\n"
# What gcloud 528 takes: a command, and the options that it is called with here.
ACCEPTED = {
    "projects describe": {"--format"},
    "auth application-default print-access-token": set(),
    "services enable": {"--project"},
    "beta services identity create": {"--service", "--project"},
    "storage buckets describe": {"--raw", "--format"},
    "storage buckets create": {
        "--project", "--location", "--uniform-bucket-level-access", "--public-access-prevention",
    },
    "storage buckets update": {"--versioning"},
    "beta quotas info describe": {"--service", "--project", "--flatten", "--format"},
    "artifacts docker images describe": {"--project"},
    "beta builds submit": {
        "--project", "--region", "--config", "--ignore-file", "--gcs-source-staging-dir", "--service-account",
        "--substitutions",
    },
}  # fmt: skip
QUESTION = "Type cpu or gpu to continue"


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
class Deploying:
    """Runs the script; `calls` are the commands that it ran."""

    folder: Path
    refused: str = "nothing"
    outputs: str = NO_OUTPUTS
    owner: str = NUMBER
    limits: str = LIMITS

    def run(
        self, what: str = "deploy", answers: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        for name in ("gcloud", "terraform"):
            program = self.folder / name
            program.write_text(
                RECORD.format(
                    name=name, calls=self.folder / "calls", refused=self.refused, number=NUMBER,
                    owner=self.owner, limits=self.limits, outputs=self.outputs,
                )
            )  # fmt: skip
            program.chmod(0o755)
        environment = {
            **os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "PROJECT": "some-project",
            "REGION": "europe-west1", "PATIENCE_SECONDS": "0", **variables,
        }  # fmt: skip
        command = ["bash", str(ROOT / "infra/deploy.sh"), what]
        return subprocess.run(
            command, env=environment, input=answers, capture_output=True, text=True, check=False
        )

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
    def changing(self) -> list[str]:
        """The calls that change something, the setting up of Terraform included."""
        asking = ("describe", "print-access-token", "output", "console")
        return [call for call in self.calls if not any(word in call for word in asking)]


@pytest.fixture
def deploying(tmp_path: Path) -> Deploying:
    return Deploying(tmp_path)


def test_images_are_there_before_anything_runs_them_and_terraform_asks(deploying: Deploying) -> None:
    deploying.refused = '*"images describe"*'
    done = deploying.run()
    assert done.returncode == 0, done.stderr
    registry = deploying.index(
        "terraform", "apply", "-target=google_artifact_registry_repository_iam_member.builder"
    )
    build = deploying.index(
        "gcloud beta builds submit",
        "_STAGES=base cpu gpu",
        "_REGISTRY=some.registry/p/defacer",
        "_CUDA=12",
        "--service-account builder@example",
    )
    everything = max(
        i for i, call in enumerate(deploying.calls) if call.startswith("terraform") and " apply " in call
    )
    assert registry < build < everything
    assert "-target" not in deploying.calls[everything]
    assert not [call for call in deploying.calls if "auto-approve" in call]
    tag = deploying.calls[build].split("_TAG=")[1].split(",")[0]
    assert f"-var tag={tag}" in deploying.calls[everything]
    assert len(tag) == 12


def test_gcloud_gets_only_arguments_that_it_accepts(deploying: Deploying) -> None:
    for refused in ('*"images describe"*', '*"buckets describe"*'):
        deploying.refused = refused
        assert deploying.run().returncode == 0
    used: dict[str, set[str]] = {command: set() for command in ACCEPTED}
    for name, *arguments in deploying.commands:
        if name == "gcloud":
            (command,) = [known for known in ACCEPTED if " ".join(arguments).startswith(known)]
            used[command] |= {argument for argument in arguments if argument.startswith("--")}
    assert used == ACCEPTED


def test_source_is_staged_in_a_folder_of_the_bucket(deploying: Deploying) -> None:
    """gcloud refuses a bucket without an object path: "wrong collection"."""
    deploying.refused = '*"images describe"*'
    assert deploying.run().returncode == 0
    build = deploying.calls[deploying.index("builds submit")]
    assert "--gcs-source-staging-dir gs://some-project-builds/source " in build


@pytest.mark.parametrize(("given", "used"), [("", "global"), ("us-west2", "us-west2")])
def test_builds_run_in_the_global_pool_unless_a_region_is_given(
    given: str, used: str, deploying: Deploying
) -> None:
    deploying.refused = '*"images describe"*'
    assert deploying.run(BUILD_REGION=given).returncode == 0
    assert f"--region {used} " in deploying.calls[deploying.index("builds submit")]


def test_google_s_agents_that_get_roles_are_made_before(deploying: Deploying) -> None:
    assert deploying.run().returncode == 0
    first = next(i for i, call in enumerate(deploying.calls) if " apply " in call)
    for agent in ("pubsub", "artifactregistry"):
        service = f"{agent}.googleapis.com"
        made = deploying.index("gcloud beta services identity create", f"--service {service} ")
        assert deploying.index("gcloud services enable", service) < made < first


def test_what_is_built_already_is_not_built_again(deploying: Deploying) -> None:
    assert deploying.run().returncode == 0
    assert not [call for call in deploying.calls if "builds submit" in call]


def test_without_a_gpu_no_image_for_one_is_built(deploying: Deploying) -> None:
    deploying.refused = '*"images describe"*'
    assert deploying.run(WORKER="cpu").returncode == 0
    build = deploying.calls[deploying.index("builds submit")]
    assert "_STAGES=base cpu," in build
    assert "-var worker=cpu" in deploying.calls[-1]


def test_worker_stays_the_deployed_one_unless_another_is_given(deploying: Deploying) -> None:
    deploying.outputs = outputs("cpu")
    assert deploying.run(WORKER="").returncode == 0
    assert "-var worker=cpu" in deploying.calls[-1]
    assert deploying.run(WORKER="gpu").returncode == 0
    assert "-var worker=gpu" in deploying.calls[-1]


@pytest.mark.parametrize("printed", [NO_OUTPUTS, outputs("tpu"), "Warning: No outputs found\\n"])
def test_only_gpu_or_cpu_is_taken_from_the_state(printed: str, deploying: Deploying) -> None:
    deploying.outputs = printed
    assert deploying.run(WORKER="").returncode == 0
    assert "-var worker=gpu" in deploying.calls[-1]


def test_a_state_that_cannot_be_read_stops_the_deployment(deploying: Deploying) -> None:
    deploying.refused = '*"output -json"'
    assert deploying.run().returncode == 1
    assert not [call for call in deploying.calls if " apply " in call]


def test_rolling_back_to_what_is_no_longer_there_changes_nothing(deploying: Deploying) -> None:
    deploying.refused = '*"images describe"*'
    done = deploying.run(TAG="0123456789ab")
    assert done.returncode == 1
    assert "has no image base:0123456789ab" in done.stderr
    assert not [call for call in deploying.calls if "builds submit" in call]
    assert [call for call in deploying.calls if " apply " in call and "-target" not in call] == []


def test_the_state_has_a_bucket_that_is_made_once(deploying: Deploying) -> None:
    deploying.refused = '*"buckets describe"*'
    assert deploying.run().returncode == 0
    made = deploying.index("buckets create gs://some-project-terraform", "--public-access-prevention")
    assert made < deploying.index("terraform", "init", "bucket=some-project-terraform")


@pytest.mark.parametrize("what", ["deploy", "destroy"])
def test_a_state_bucket_of_another_project_is_not_used(what: str, deploying: Deploying) -> None:
    deploying.owner = "666"
    done = deploying.run(what)
    assert done.returncode == 1
    assert (
        f"gs://some-project-terraform belongs to project number 666, but some-project has number {NUMBER}"
        in (done.stderr)
    )
    assert not [call for call in deploying.calls if call.startswith("terraform")]


def test_a_state_bucket_whose_name_is_taken_is_not_used(deploying: Deploying) -> None:
    deploying.refused = '*"buckets describe"*|*"buckets create"*'
    done = deploying.run()
    assert done.returncode == 1
    assert "gs://some-project-terraform could not be created. If the name is taken" in done.stderr
    assert not [call for call in deploying.calls if call.startswith("terraform")]


def test_what_was_deployed_is_removed_by_its_state_and_terraform_asks(deploying: Deploying) -> None:
    assert deploying.run("destroy").returncode == 0
    assert not [call for call in deploying.calls if "buckets create" in call or "auto-approve" in call]
    assert "bucket=some-project-terraform" in deploying.calls[-2]
    assert deploying.calls[-1].startswith("terraform -chdir=infra destroy")


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ('*"projects describe"*', "Your login cannot see a project some-project. Run gcloud auth login"),
        (
            '*"print-access-token"*',
            "Terraform has no login of its own. Run gcloud auth application-default login.",
        ),
    ],
)
@pytest.mark.parametrize("what", ["deploy", "destroy"])
def test_without_a_login_nothing_is_begun(
    deploying: Deploying, what: str, refused: str, sentence: str
) -> None:
    deploying.refused = refused
    done = deploying.run(what)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert deploying.changing == []


@pytest.mark.parametrize(
    ("what", "refused"),
    [("deploy", '*"services enable"*'), ("deploy", '*" apply "*'), ("destroy", '*" destroy "*')],
)
def test_an_error_says_that_the_same_command_continues(deploying: Deploying, what: str, refused: str) -> None:
    deploying.refused = refused
    done = deploying.run(what)
    assert done.returncode == 1
    assert done.stderr.count("The command stopped with status 1.") == 1
    assert "run the same\ncommand again" in done.stderr


def test_where_nothing_was_deployed_removing_says_so_and_makes_nothing(deploying: Deploying) -> None:
    deploying.refused = '*"buckets describe"*'
    done = deploying.run("destroy")
    assert done.returncode == 1
    assert "Found nothing to remove" in done.stderr
    assert "gs://some-project-terraform" in done.stderr
    assert deploying.changing == []


@pytest.mark.parametrize(
    ("region", "problem"),
    [
        ("europe-west4", "The quota SomeQuota of some-project in europe-west4 is 0, but up to 3 GPU workers"),
        ("us-west1", "The quota SomeQuota of some-project in us-west1 is 0, but up to 3 GPU workers"),
        ("us-west1", "Cloud Run has no L4 GPUs in us-west1 as far as known. It has them in: us-central1"),
        ("mars-1", "Cloud Run has no L4 GPUs in mars-1"),
    ],
)
def test_without_gpu_or_quota_cpu_workers_are_offered_before_the_build(
    region: str, problem: str, deploying: Deploying
) -> None:
    done = deploying.run(REGION=region)
    assert done.returncode == 1
    assert problem in done.stderr
    assert QUESTION in done.stderr
    assert "Stopped before anything was built" in done.stderr
    assert not [call for call in deploying.calls if " apply " in call or "builds submit" in call]


@pytest.mark.parametrize("answer", ["cpu", "gpu"])
def test_the_answer_decides_what_the_workers_run_on(answer: str, deploying: Deploying) -> None:
    deploying.refused = '*"images describe"*'
    done = deploying.run(answers=f"{answer}\n", REGION="europe-west4")
    assert done.returncode == 0, done.stderr
    assert f"-var worker={answer}" in deploying.calls[-1]
    stages = "base cpu gpu" if answer == "gpu" else "base cpu"
    assert f"_STAGES={stages}," in deploying.calls[deploying.index("builds submit")]


def test_the_offer_has_the_costs_of_the_capacity_model(deploying: Deploying) -> None:
    done = deploying.run(REGION="europe-west4")
    rows = [line.split("|") for line in (INFRA / "CAPACITY.md").read_text().splitlines()]
    costs = {row[2].split()[0]: row[6].strip() for row in rows if len(row) > 7 and row[1].strip() == "1080p"}
    assert set(costs) == {"CPU", "L4"}
    assert f"A minute of 1080p video costs {costs['CPU']} on them" in done.stderr
    assert f"{costs['L4']} on an L4 by assumed speed" in done.stderr


@pytest.mark.parametrize("region", ["europe-west1", "us-central1"])
def test_with_enough_quota_or_no_limit_no_question_is_asked(region: str, deploying: Deploying) -> None:
    done = deploying.run(REGION=region)
    assert done.returncode == 0, done.stderr
    assert "quota" not in done.stderr
    assert "-var worker=gpu" in deploying.calls[-1]


def test_a_quota_that_cannot_be_read_does_not_stop_the_deployment(deploying: Deploying) -> None:
    deploying.refused = '*"quotas info"*'
    done = deploying.run()
    assert done.returncode == 0, done.stderr
    assert "Could not read the GPU quota" in done.stderr
    assert "-var worker=gpu" in deploying.calls[-1]


def test_a_gpu_that_was_asked_for_gets_a_warning_but_no_question(deploying: Deploying) -> None:
    done = deploying.run(WORKER="gpu", REGION="europe-west4")
    assert done.returncode == 0
    assert "The quota SomeQuota of some-project in europe-west4 is 0" in done.stderr
    assert QUESTION not in done.stderr


def test_for_cpu_workers_no_quota_is_read(deploying: Deploying) -> None:
    done = deploying.run(WORKER="cpu", REGION="mars-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert not [call for call in deploying.calls if "quotas info" in call]


def test_the_alert_that_is_retried_is_the_only_one_on_a_metric_of_ours() -> None:
    script = (INFRA / "deploy.sh").read_text()
    (retried,) = re.findall("^METRIC_ALERT=(.+)$", script, re.MULTILINE)
    on_ours = [
        f"google_monitoring_alert_policy.{name}"
        for name, body in resources("google_monitoring_alert_policy").items()
        if "logging.googleapis.com/user" in str(body)
    ]
    assert on_ours == [retried]


def test_another_cuda_is_another_image(deploying: Deploying) -> None:
    deploying.refused = '*"images describe"*'
    tags = set()
    for cuda in ("12", "13"):
        assert deploying.run(CUDA=cuda).returncode == 0
        tags |= {call.split("_TAG=")[1].split(",")[0] for call in deploying.calls if f"_CUDA={cuda}" in call}
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
        ({"WORKER": "tpu"}, "WORKER=tpu: expected gpu or cpu."),
        ({"CUDA": "11"}, "CUDA=11: there is no infra/locks/cuda11.lock; expected 12 or 13."),
    ],
)
def test_what_is_missing_is_said_before_anything_is_done(
    variables: dict[str, str], sentence: str, deploying: Deploying
) -> None:
    done = deploying.run(**variables)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert deploying.calls == []
