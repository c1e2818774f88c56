"""The generated parts of the documentation are up to date, and examples in it are valid."""

import re
from pathlib import Path

import pytest

from defacer.pipeline.documents.base import Document, parse_document
from defacer.pipeline.documents.job_records import JobEvent
from defacer.pipeline.documents.manifest import Policy
from tests.reference.pages import PARTS, filled_pages, markdown_pages, parts_of
from tests.servers import ROOT

FUNCTIONS = ROOT / "functions" / "defacer"


def test_generated_parts_are_up_to_date() -> None:
    outdated = [
        str(page.relative_to(ROOT)) for page, text in filled_pages().items() if page.read_text() != text
    ]
    assert not outdated, "run make reference"


def test_each_generated_part_is_in_one_page() -> None:
    found = [part for page in markdown_pages() for part in parts_of(page.read_text())]
    assert sorted(found) == sorted(PARTS)


def test_every_field_and_setting_has_a_meaning() -> None:
    rows = [line for make in PARTS.values() for line in make().splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.endswith("| |")]


@pytest.mark.parametrize(
    ("page", "model"),
    [(FUNCTIONS / "pipeline" / "EVENTS.md", JobEvent), (FUNCTIONS / "ingest" / "POLICY.md", Policy)],
    ids=["EVENTS.md", "POLICY.md"],
)
def test_json_examples_are_valid(page: Path, model: type[Document]) -> None:
    examples = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        parse_document(model, example.encode())
