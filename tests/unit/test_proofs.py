"""The tests and commands that the pages of tests/ name exist, and each figure of a long run names a commit."""

import re

import pytest

from tests.servers import ROOT

PAGES = {name: (ROOT / "tests" / name).read_text() for name in ("README.md", "LONG_RUNS.md", "PROMISES.md")}
ITEMS = PAGES["PROMISES.md"]
MAKEFILE = (ROOT / "Makefile").read_text()


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table's rows, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_promise_has_a_row() -> None:
    assert [row[0].partition(".")[0].strip() for row in rows(ITEMS)] == [
        str(number) for number in range(1, 11)
    ]


@pytest.mark.parametrize("row", rows(ITEMS), ids=lambda row: row[0])
def test_tests_of_a_promise_exist(row: list[str]) -> None:
    named = re.findall(r"`(tests/\S+)`", row[1])
    assert named
    for file in named:
        assert "\ndef test_" in (ROOT / file).read_text(), file


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"`((?:make|python -m) [^`]+)`", "".join(PAGES.values()))))
)
def test_command_exists(command: str) -> None:
    words = command.split()
    if words[0] == "make":
        assert f"\n{words[1]}:" in MAKEFILE
    else:
        module = ROOT.joinpath(*words[2].split("."))
        assert "__main__" in module.with_suffix(".py").read_text()


@pytest.mark.parametrize("row", rows(PAGES["LONG_RUNS.md"]), ids=lambda row: row[0])
def test_figure_names_its_commit(row: list[str]) -> None:
    found, at = row[2:]
    elsewhere = re.fullmatch(r"`(\S+\.md)`", found)
    if elsewhere:
        assert (ROOT / elsewhere[1]).is_file()
    else:
        assert re.search(r"\d", found)
        assert re.fullmatch(r"`[0-9a-f]{7}`(; `[0-9a-f]{7}`)*", at)
