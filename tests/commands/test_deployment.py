"""The pipeline that a command works on, by its options and by the environment."""

import pytest

from defacer.commands.common.deployment import use_deployment
from defacer.commands.common.exit_codes import UsageError
from defacer.pipeline.settings import settings

VARIABLES = (
    *("DEFACER_PROJECT", "DEFACER_INTAKE_BUCKET", "DEFACER_WORK_BUCKET", "DEFACER_OUTPUT_BUCKET"),
    *("GOOGLE_CLOUD_PROJECT", "STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"),
)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()


def chosen_buckets(project: str | None = None) -> tuple[str, ...]:
    with use_deployment(False, None, project):
        found = settings()
        return found.project, found.intake_bucket, found.work_bucket, found.output_bucket


def test_project_option_names_the_buckets_as_terraform_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFACER_WORK_BUCKET", "another")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another")
    assert chosen_buckets("mine") == ("mine", "mine-intake", "mine-work", "mine-output")


def test_google_cloud_project_names_the_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    assert chosen_buckets() == ("mine", "mine-intake", "mine-work", "mine-output")


def test_variables_of_the_functions_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES[:4]:
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another")
    assert chosen_buckets() == tuple(map(str.lower, VARIABLES[:4]))


def test_project_option_is_refused_while_an_emulator_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:4443")
    with pytest.raises(UsageError, match=r"STORAGE_EMULATOR_HOST\. Unset these variables"):
        chosen_buckets("mine")


def test_environment_is_restored_after_the_command() -> None:
    chosen_buckets("mine")
    with pytest.raises(UsageError, match="Add --emulator or --project PROJECT"):
        chosen_buckets()
