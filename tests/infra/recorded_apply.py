"""The resources of an apply of infra/, recorded so that the tests of them also run without Terraform.

A record belongs to one version of the Terraform files. With Terraform installed, the tests apply the files and compare
the result with the record. To write the records again: python -m tests.infra.recorded_apply
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.terraform import INFRA

FOLDER = Path(__file__).parent / "recorded"
Resources = dict[str, list[dict[str, Any]]]


@dataclass
class Record:
    """The applied resources by type, and the digest of the Terraform files. Their order is not recorded."""

    resources: Resources
    digest: str
    order: tuple[str, ...] = ()

    @classmethod
    def read(cls, name: str) -> "Record":
        head, *bodies = map(json.loads, (FOLDER / f"{name}.jsonl").read_text().splitlines())
        record = cls({}, **head)
        for kind, body in bodies:
            record.resources.setdefault(kind, []).append(body)
        return record

    def write(self, name: str) -> None:
        """Write the record with one line for each resource."""
        resources = sorted_resources(self.resources).items()
        lines = [
            {"digest": self.digest},
            *([kind, body] for kind, bodies in resources for body in bodies),
        ]
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.jsonl").write_text(
            "".join(f"{json.dumps(line, sort_keys=True)}\n" for line in lines)
        )


def digest_files() -> str:
    """Return a digest of the Terraform files without their comments."""
    found = hashlib.sha256()
    for path in sorted((*INFRA.glob("*.tf"), *INFRA.glob("*.tftpl"))):
        lines = (line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
        found.update("\n".join((path.name, *lines)).encode())
    return found.hexdigest()


def sorted_resources(resources: Resources) -> Resources:
    """Return the resources in an order that does not depend on the apply."""
    return {
        kind: sorted(bodies, key=lambda body: json.dumps(body, sort_keys=True))
        for kind, bodies in sorted(resources.items())
    }


def require_record(name: str, resources: Resources) -> None:
    """Raise AssertionError if the record does not belong to the Terraform files, or has other resources than these."""
    record = Record.read(name)
    is_current = record.digest == digest_files() and record.resources == sorted_resources(resources)
    assert is_current, (
        f"tests/infra/recorded/{name}.jsonl was recorded from other files. With Terraform installed, run: "
        "DEFACER_TOOLS=... python -m tests.infra.recorded_apply"
    )


def write_records() -> None:
    from tests.infra.applying import VARIABLES, apply_project

    for name in VARIABLES:
        with tempfile.TemporaryDirectory() as folder, apply_project(Path(folder), name) as project:
            project.apply()
            Record(project.provider.resources, digest_files()).write(name)


if __name__ == "__main__":
    write_records()
