"""infra/*.tf satisfies Terraform's formatter and the provider's schema. Skipped where these are missing."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.provider_schema import read_schema
from tests.servers import ROOT
from tests.terraform import INFRA, documents

TOOLS = Path(os.environ.get("DEFACER_TOOLS", ROOT.parent / "shared" / "tools"))
SCHEMA_CHECK = TOOLS / "tf_schema_check.py"


@pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")
def test_terraform_files_are_formatted() -> None:
    command = ["terraform", "fmt", "-check", "-diff", "-recursive", str(INFRA)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    not SCHEMA_CHECK.exists(), reason=f"{SCHEMA_CHECK.name} is missing in the folder that DEFACER_TOOLS names"
)
def test_provider_schema_has_every_argument_and_block(tmp_path: Path) -> None:
    check = Path(shutil.copy(SCHEMA_CHECK, tmp_path))
    (tmp_path / "google_schema.json").write_text(json.dumps(read_schema(TOOLS / "google_schema.json")))
    done = subprocess.run([sys.executable, check, INFRA], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_provider_has_an_exact_version() -> None:
    """No registry of providers is reachable here, so the first deployment fetches the hashes of the lock file."""
    (terraform,) = documents()["versions.tf"]["terraform"]
    (providers,) = terraform["required_providers"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", providers["google"]["version"])
