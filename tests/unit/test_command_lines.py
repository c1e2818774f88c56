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
    """Return the calls in a file that create an argument parser or a subparser."""
    text = path.read_text()
    if not any(name in text for name in MAKERS):  # skip most files, because parsing all of them takes seconds
        return []
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call for call in calls if _callee_name(call.func) in MAKERS]


def _callee_name(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def forbids_abbreviations(call: ast.Call) -> bool:
    values = [word.value for word in call.keywords if word.arg == "allow_abbrev"]
    return any(isinstance(value, ast.Constant) and value.value is False for value in values)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if parsers_of(path)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_parser_accepts_abbreviated_options(path: Path) -> None:
    """An abbreviation could select an option that the caller did not mean. Subparsers do not inherit the setting."""
    lenient = [call.lineno for call in parsers_of(path) if not forbids_abbreviations(call)]
    assert not lenient, f"{path.relative_to(ROOT)}: add allow_abbrev=False in lines {lenient}"


def test_rule_covers_the_public_command_lines() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in SOURCES if parsers_of(path)}
    assert {
        "functions/defacer/web/common/uvicorn_server.py",
        "local_emulator/defacer_emulator/setup/preflight.py",
    } <= found
