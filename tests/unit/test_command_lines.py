"""Rules for every command line of the repository."""

import ast
from pathlib import Path

import pytest

from tests.servers import ROOT

MAKERS = ("ArgumentParser", "add_parser")
SOURCES = [
    path
    for folder in ("functions", "infra", "local_emulator", "tests")
    for path in (ROOT / folder).rglob("*.py")
]


def parsers_of(path: Path) -> list[ast.Call]:
    """The calls in a file that make an argument parser or a sub-parser."""
    text = path.read_text()
    if not any(name in text for name in MAKERS):  # most files: parsing them takes seconds
        return []
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call for call in calls if _name_of(call.func) in MAKERS]


def _name_of(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def forbids_abbreviations(call: ast.Call) -> bool:
    values = [word.value for word in call.keywords if word.arg == "allow_abbrev"]
    return any(isinstance(value, ast.Constant) and value.value is False for value in values)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if parsers_of(path)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_parser_accepts_abbreviated_options(path: Path) -> None:
    """`--keep me.jpg` must not be read as `--match-threshold`. A sub-parser does not inherit the setting."""
    lenient = [call.lineno for call in parsers_of(path) if not forbids_abbreviations(call)]
    assert not lenient, f"{path.relative_to(ROOT)}: add allow_abbrev=False in lines {lenient}"


def test_the_rule_covers_the_command_lines_that_people_use() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in SOURCES if parsers_of(path)}
    assert {
        "functions/defacer/engine/__main__.py",
        "local_emulator/defacer_emulator/commands/cli.py",
    } <= found
