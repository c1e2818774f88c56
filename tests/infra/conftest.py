"""infra/, applied once without any setting and once with all of them."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.infra.applying import EVERYTHING, SCHEMA, Project, first_targets
from tests.infra.stand_in_provider import StandIn
from tests.terraform import INFRA


@pytest.fixture(scope="session", params=[(), EVERYTHING], ids=["plain", "everything"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    if not shutil.which("terraform") or not SCHEMA.exists():
        pytest.skip("needs terraform, and DEFACER_TOOLS to name the folder that has google_schema.json")
    folder, provider = tmp_path_factory.mktemp("infra"), StandIn(SCHEMA)
    for path in (*INFRA.glob("*.tf"), *INFRA.glob("*.tftpl")):
        shutil.copy(path, folder)
    (folder / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    with provider.serving() as found:
        made = Project(folder, provider, {**os.environ, **found, "CHECKPOINT_DISABLE": "1"}, request.param)
        done = made.terraform("init", "-input=false", "-no-color")
        assert done.returncode == 0, done.stdout + done.stderr
        targets = [f"-target={address}" for address in first_targets()]
        made.apply(*targets)
        assert made.made("cloud_run_v2_service") == []
        assert [body["repository_id"] for body in made.made("artifact_registry_repository")] == ["defacer"]
        made.apply()
        yield made
