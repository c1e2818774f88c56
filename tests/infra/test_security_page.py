"""Each row of infra/SECURITY.md names an attack, a result and existing tests."""

import re

import pytest

from tests.servers import ROOT
from tests.terraform import INFRA

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (INFRA / "SECURITY.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| attack |")
]


def test_page_has_rows_and_no_attack_twice() -> None:
    attacks = [row[0] for row in ROWS]
    assert len(attacks) > 50
    assert sorted(set(attacks)) == sorted(attacks)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row_has_a_result_and_existing_tests(row: list[str]) -> None:
    _, result, tests = row
    assert result.endswith(".")
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", tests)
    assert tests == ", ".join(f"`{file}::{name}`" for file, name in named) != ""
    for file, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.M), f"{file}::{name}"
