"""infra/deploy.sh against stand-ins for gcloud and terraform, which only write down what they are asked."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import ROOT

RECORD = """#!/bin/sh
echo "{name} $*" >> "{calls}"
case "$*" in
    {refused}) exit 1 ;;
    *"output -raw registry") echo some.registry/p/defacer ;;
    *"output -raw builder") echo builder@example ;;
    *"output -raw worker") echo {worker} ;;
    *"output -raw builds") echo gs://some-project-builds ;;
esac
"""


@dataclass
class Deploying:
    """Runs the script; `calls` are the commands it gave."""

    folder: Path
    refused: str = "nothing"
    worker: str = ""

    def run(self, what: str = "deploy", **variables: str) -> subprocess.CompletedProcess[str]:
        for name in ("gcloud", "terraform"):
            program = self.folder / name
            program.write_text(
                RECORD.format(
                    name=name, calls=self.folder / "calls", refused=self.refused, worker=self.worker
                )
            )
            program.chmod(0o755)
        environment = {
            **os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "PROJECT": "some-project",
            "REGION": "europe-west4", "PATIENCE_SECONDS": "0", **variables,
        }  # fmt: skip
        command = ["bash", str(ROOT / "infra/deploy.sh"), what]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def index(self, *parts: str) -> int:
        (found,) = [i for i, call in enumerate(self.calls) if all(part in call for part in parts)]
        return found


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
        "gcloud builds submit",
        "_STAGES=base cpu gpu",
        "_REGISTRY=some.registry/p/defacer",
        "_CUDA=12",
        "--gcs-source-staging-dir gs://some-project-builds --service-account builder@example",
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


def test_a_worker_stays_what_it_was_unless_another_is_said(deploying: Deploying) -> None:
    deploying.worker = "cpu"
    assert deploying.run(WORKER="").returncode == 0
    assert "-var worker=cpu" in deploying.calls[-1]
    assert deploying.run(WORKER="gpu").returncode == 0
    assert "-var worker=gpu" in deploying.calls[-1]


def test_rolling_back_to_what_is_no_longer_there_changes_nothing(deploying: Deploying) -> None:
    deploying.refused = '*"images describe"*'
    done = deploying.run(TAG="0123456789ab")
    assert done.returncode == 1
    assert "There is no image base:0123456789ab" in done.stderr
    assert not [call for call in deploying.calls if "builds submit" in call]
    assert [call for call in deploying.calls if " apply " in call and "-target" not in call] == []


def test_the_state_has_a_bucket_that_is_made_once(deploying: Deploying) -> None:
    deploying.refused = '*"buckets describe"*'
    assert deploying.run().returncode == 0
    made = deploying.index("buckets create gs://some-project-terraform", "--public-access-prevention")
    assert made < deploying.index("terraform", "init", "bucket=some-project-terraform")


def test_what_was_deployed_is_removed_by_its_state_and_terraform_asks(deploying: Deploying) -> None:
    assert deploying.run("destroy").returncode == 0
    assert not [call for call in deploying.calls if "buckets create" in call or "auto-approve" in call]
    assert "bucket=some-project-terraform" in deploying.calls[-2]
    assert deploying.calls[-1].startswith("terraform -chdir=infra destroy")


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (
            '*"projects describe"*',
            "There is no project some-project that your login may see: gcloud auth login",
        ),
        ('*"print-access-token"*', "Terraform has no login of its own here: gcloud auth application-default"),
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
    assert not [call for call in deploying.calls if "describe" not in call and "print-access" not in call]


@pytest.mark.parametrize(
    ("what", "refused"),
    [("deploy", '*"services enable"*'), ("deploy", '*" apply "*'), ("destroy", '*" destroy "*')],
)
def test_what_stops_half_way_says_that_it_goes_on_from_there(
    deploying: Deploying, what: str, refused: str
) -> None:
    deploying.refused = refused
    done = deploying.run(what)
    assert done.returncode == 1
    assert done.stderr.count("It stopped there (status 1). What was made until then stays") == 1
    assert "run the same\ncommand again" in done.stderr


def test_where_nothing_was_deployed_removing_says_so_and_makes_nothing(deploying: Deploying) -> None:
    deploying.refused = '*"buckets describe"*'
    done = deploying.run("destroy")
    assert done.returncode == 1
    assert "There is nothing to remove: gs://some-project-terraform" in done.stderr
    assert not [call for call in deploying.calls if "describe" not in call and "print-access" not in call]


@pytest.mark.parametrize(
    ("worker", "region", "warned"),
    [("gpu", "mars-1", True), ("gpu", "us-east4", False), ("cpu", "mars-1", False)],
)
def test_a_region_that_is_not_known_to_have_gpus_is_told_before_anything_is_built(
    deploying: Deploying, worker: str, region: str, warned: bool
) -> None:
    done = deploying.run(WORKER=worker, REGION=region)
    assert done.returncode == 0
    assert ("Not known to have L4 GPUs" in done.stderr) == warned


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
        ({"PROJECT": ""}, "make deploy PROJECT=my-project REGION=europe-west4"),
        ({"PROJECT": "My Project"}, "PROJECT=My Project: expected a project's id"),
        (
            {"REGION": "europe-west4-a"},
            "REGION=europe-west4-a is a zone: expected a region, such as europe-west4.",
        ),
        ({"REGION": "europe-west12-b"}, "expected a region, such as europe-west12."),
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
