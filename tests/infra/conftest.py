"""Apply infra/ once without optional variables, and once with all of them."""

from collections.abc import Iterator

import pytest

from tests.infra.applying import Project, RecordedProject, apply_project, first_targets


@pytest.fixture(scope="session", params=["defaults", "all-variables"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with apply_project(tmp_path_factory.mktemp("infra"), request.param) as project:
        if not isinstance(project, RecordedProject):
            project.apply(*(f"-target={address}" for address in first_targets()))
            assert project.resources("cloud_run_v2_service") == []
            (repository,) = project.resources("artifact_registry_repository")
            assert repository["repository_id"] == "defacer"
        project.apply()
        yield project
