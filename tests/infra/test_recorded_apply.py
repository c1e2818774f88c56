"""The recorded applies are those of the Terraform files. With Terraform, they are compared with a new apply."""

import pytest

from tests.infra.applying import VARIABLES, Project
from tests.infra.recorded_apply import Record, digest_files, require_record


@pytest.mark.parametrize("name", VARIABLES)
def test_record_belongs_to_the_terraform_files(name: str) -> None:
    record = Record.read(name)
    require_record(name, record.resources)
    assert record.digest == digest_files()


def test_record_equals_the_apply(project: Project) -> None:
    require_record(project.record, project.provider.resources)
