"""infra/*.tf satisfies Terraform's formatter and the provider's schema. Skipped where these are missing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from defacer.pipeline.topology import FUNCTIONS, TOPICS
from defacer_emulator.resources import Resources
from tests.servers import ROOT
from tests.terraform import INFRA

TOOLS = Path(os.environ.get("DEFACER_TOOLS", ROOT.parent / "shared" / "tools"))
SCHEMA_CHECK = TOOLS / "tf_schema_check.py"


with_terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")


@with_terraform
def test_terraform_files_are_formatted() -> None:
    command = ["terraform", "fmt", "-check", "-diff", "-recursive", str(INFRA)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    not SCHEMA_CHECK.exists(), reason=f"{SCHEMA_CHECK.name} is missing in the folder that DEFACER_TOOLS names"
)
def test_provider_schema_has_every_argument_and_block() -> None:
    done = subprocess.run([sys.executable, SCHEMA_CHECK, INFRA], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@with_terraform
def test_terraform_derives_the_emulator_s_names(tmp_path: Path) -> None:
    for name in ("names.tf", "variables.tf"):
        shutil.copy(INFRA / name, tmp_path)
    subprocess.run(["terraform", "init", "-input=false"], cwd=tmp_path, capture_output=True, check=True)
    variables = ["-var=project=some-project", "-var=region=somewhere", "-var=tag=some"]
    done = subprocess.run(
        ["terraform", "console", *variables],
        cwd=tmp_path,
        input="jsonencode([local.topics, values(local.buckets), local.environment, local.functions])",
        capture_output=True,
        text=True,
        check=True,
    )
    topics, buckets, environment, functions = json.loads(json.loads(done.stdout))

    resources = Resources("some-project")
    assert topics == list(TOPICS)
    assert set(buckets) == set(resources.buckets)
    assert environment == resources.environment()
    assert {name: body["ack_deadline_seconds"] for name, body in functions.items()} == {
        function.subscription: function.ack_deadline_seconds for function in FUNCTIONS
    }
