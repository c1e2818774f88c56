"""Apply infra/ once without optional variables, and once with all of them."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.infra.applying import ALL_VARIABLES, SCHEMA, Project, first_targets
from tests.infra.stub_provider import StubProvider
from tests.terraform import INFRA


@pytest.fixture(scope="session", params=[(), ALL_VARIABLES], ids=["defaults", "all-variables"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    if not shutil.which("terraform") or not SCHEMA.exists():
        pytest.skip("requires terraform, and google_schema.json in the folder that DEFACER_TOOLS names")
    folder, provider = tmp_path_factory.mktemp("infra"), StubProvider(SCHEMA)
    for path in (*INFRA.glob("*.tf"), *INFRA.glob("*.tftpl")):
        shutil.copy(path, folder)
    (folder / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    with provider.serve() as variables:
        project = Project(
            folder, provider, {**os.environ, **variables, "CHECKPOINT_DISABLE": "1"}, request.param
        )
        done = project.terraform("init", "-input=false", "-no-color")
        assert done.returncode == 0, done.stdout + done.stderr
        targets = [f"-target={address}" for address in first_targets()]
        project.apply(*targets)
        assert project.resources("cloud_run_v2_service") == []
        (repository,) = project.resources("artifact_registry_repository")
        assert repository["repository_id"] == "defacer"
        project.apply()
        yield project
