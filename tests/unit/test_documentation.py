"""The Markdown pages: their links resolve, and the commands, make targets and files that they name exist."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.reference.pages import markdown_pages
from tests.servers import ROOT

PAGES = pytest.mark.parametrize("page", markdown_pages(), ids=lambda page: str(page.relative_to(ROOT)))
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```[a-z]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
# A command is the begin of a code span or of a line in a code block.
COMMAND = r"^(?:[A-Z_]+=\S+ )*(?:\.venv/bin/|\$VENV/bin/)?"
MAKE_TARGET = re.compile(COMMAND + r"make ([a-z][a-z-]*)", re.MULTILINE)
MODULE = re.compile(COMMAND + r"python[\d.]* -m ([a-z_]+(?:\.[a-z_]+)*)", re.MULTILINE)
DEFACER = re.compile(COMMAND + r"defacer((?: [a-z][a-z-]*)*)(.*)$", re.MULTILINE)
MAX_WORDS = 32  # of a sentence
SOURCE_ROOTS = (ROOT, ROOT / "functions", ROOT / "local_emulator")
COMMANDS_PAGE = ROOT / "functions" / "defacer" / "commands" / "CLI.md"
FILE = re.compile(r"`((?:[\w-]+/)+[\w-]+\.(?:py|tf|sh|md|toml|html|js|yaml))`")
# Programs that are installed, not part of this repository.
OTHER_MODULES = {"functions_framework", "pytest", "http.server", "debugpy", "pip", "venv", "json.tool"}


def code_of(page: Path) -> str:
    """Return the code blocks and code spans of a page."""
    return "\n".join(block or span for block, span in CODE.findall(page.read_text()))


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """Return the anchors of a page as GitHub names them."""
    text = CODE.sub(lambda code: code[2] or "", page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@PAGES
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


@PAGES
def test_named_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE_TARGET.findall(code_of(page))) <= targets


@PAGES
def test_named_modules_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # it names removed commands
        return
    missing = {
        module
        for module in set(MODULE.findall(code_of(page))) - OTHER_MODULES
        for path in [Path(*module.split("."))]
        if not any(
            (root / path / "__main__.py").is_file() or (root / path).with_suffix(".py").is_file()
            for root in SOURCE_ROOTS
        )
    }
    assert not missing


@cache
def commands() -> dict[str, str]:
    """Return the help of each command by its name, such as "job erase", from the generated page."""
    sections = re.split(r"^## defacer ?", COMMANDS_PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {name: text for name, _, text in (section.partition("\n") for section in sections)}


def find_command(words: list[str]) -> str:
    """Return the longest command that these words begin with; the other words are arguments."""
    names = (" ".join(words[:length]) for length in range(len(words), -1, -1))
    return next(name for name in names if name in commands())


@PAGES
def test_named_commands_and_options_exist(page: Path) -> None:
    if page == COMMANDS_PAGE:
        return
    wrong = []
    for words, rest in DEFACER.findall(code_of(page)):
        name = find_command(words.split())
        text = commands()[name]
        if words and (not name or (words.strip() != name and "Arguments:" not in text)):
            wrong.append(f"defacer{words}")
        options = re.findall(r"(?<=\s)--[a-z-]+", rest.partition("#")[0])
        wrong += [f"defacer {name} {option}" for option in options if option not in text]
    assert not wrong


@PAGES
def test_named_files_exist(page: Path) -> None:
    packages = (ROOT / "functions" / "defacer", ROOT / "local_emulator" / "defacer_emulator")
    folders = (ROOT, page.parent, *packages, packages[0] / "engine")
    named = set(FILE.findall(page.read_text()))
    assert not {name for name in named if not any((folder / name).exists() for folder in folders)}


def test_workflow_and_compose_name_existing_files_and_targets() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    steps = re.findall(r"- run: (.+)", text)
    assert [step for step in steps if (ROOT / step.split()[0]).is_file()] == [".ci/run"]
    assert {step.split()[1] for step in steps if step.startswith("make ")} <= targets
    for step in steps:
        if step.startswith("python -m ") and (module := step.split()[2]) not in OTHER_MODULES:
            assert Path(ROOT, *module.split(".")).with_suffix(".py").is_file(), step
        if step.startswith("defacer "):
            assert find_command(step.split()[1:]), step
    compose = (ROOT / "compose.yaml").read_text()
    (file,), (stage,) = re.findall(r"dockerfile: (.+)", compose), re.findall(r"target: (.+)", compose)
    assert re.search(rf"^FROM .* AS {stage}$", (ROOT / file).read_text(), re.MULTILINE)
    for template in (ROOT / ".github").rglob("*.*"):
        wrong = [name for name in FILE.findall(template.read_text()) if not (ROOT / name).exists()]
        assert not wrong, template


def sentences_of(text: str) -> Iterator[str]:
    """Yield the sentences of a page, with one word for each code span and without code blocks and headings."""
    text = re.sub(r"^```.*?^```|^#.*?$|^<!--.*?$", "\n", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", re.sub(r"\]\([^)]*\)", "]", text))
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\|)|\|", text):
        yield from re.split(r"(?<=[.!?;]) +", " ".join(paragraph.split()))


@PAGES
def test_sentences_are_short(page: Path) -> None:
    assert not [sentence for sentence in sentences_of(page.read_text()) if len(sentence.split()) > MAX_WORDS]
