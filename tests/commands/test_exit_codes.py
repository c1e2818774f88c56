"""The same fault has the same exit code in every command, and every error is a sentence."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from defacer.commands.app import main
from defacer.commands.common.exit_codes import ExitCode
from tests.clips import Clip, write_clip
from tests.commands.conftest import Run
from tests.servers import ROOT

UPLOAD = ("emulator", "upload")
# Their messages follow the name of a file, or of a decision in a log.
ALONE = {
    "ArgumentError",
    "CommandError",
    "EmulatorError",
    "EmulatorUsageError",
    "GpuError",
    "MissingPackageError",
    "OutputPathError",
    "PermanentError",
    "PictureError",
    "SettingsError",
    "UsageError",
    "WeightsError",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two videos, a report of one of them, and files that can't be used."""
    folder = tmp_path_factory.mktemp("files")
    write_clip(folder / "in.mp4", Clip(seconds=0.2))
    write_clip(folder / "other.mp4", Clip(seconds=0.6))
    command = ["run", folder / "in.mp4", "-o", folder / "safe.mp4", "--report", folder / "in.jsonl"]
    assert main([*map(str, command), "--verify", "off", "-q"]) == 0
    (folder / "text.mp4").write_text("no video")
    (folder / "text.png").write_text("no picture")
    (folder / "typo.json").write_text('{"mood": "blur"}')
    cv2.imwrite(str(folder / "blank.png"), np.full((300, 300, 3), 120, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("code", "command"),
    [
        *((ExitCode.FAILED, command) for command in (
            ["run", "text.mp4"],
            ["probe", "text.mp4"],
            [*UPLOAD, "text.mp4"],
            ["emulator", "demo", "--video", "text.mp4"],
        )),
        *((ExitCode.WRONG_USAGE, command) for command in (
            ["run", "none.mp4"],
            ["probe", "none.mp4"],
            ["render", "none.mp4", "in.jsonl", "out.mp4"],
            [*UPLOAD, "none.mp4"],
            ["run", "in.mp4", "--keep", "none.png"],
            [*UPLOAD, "in.mp4", "--keep", "none.png"],
            ["run", "in.mp4", "--keep", "blank.png"],
            ["emulator", "demo", "--video", "in.mp4", "--keep", "blank.png"],
            ["run", "in.mp4", "--keep", "text.png"],
            [*UPLOAD, "in.mp4", "--keep", "text.png"],
            ["run", "in.mp4", "--mode", "image", "--replacement", "text.png"],
            ["render", "in.mp4", "in.jsonl", "out.mp4", "--mode", "image", "--replacement", "text.png"],
            [*UPLOAD, "in.mp4", "--mode", "image", "--replacement", "text.png"],
            [*UPLOAD, "in.mp4", "--policy", "typo.json"],
            ["tracks", "text.mp4"],
            ["render", "in.mp4", "text.mp4", "out.mp4"],
            ["render", "other.mp4", "in.jsonl", "out.mp4"],
            ["tracks", "in.jsonl", "--format", "mot", "--video", "other.mp4"],
            ["render", "in.mp4", "in.jsonl", "out.mp4", "--keep", "9"],
            ["render", "in.mp4", "in.jsonl", "out.mp4", "--split", "9@0:00"],
            ["render", "in.mp4", "in.jsonl", "out.mp4", "--masks", "typo.json"],
            ["render", "in.mp4", "in.jsonl", "out.mp4", "--decisions", "typo.json"],
            ["render", "in.mp4", "in.jsonl", "out.mp4", "--tracks", "typo.json"],
        )),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_same_fault_has_the_same_exit_code(
    code: ExitCode,
    command: list[str],
    files: Path,
    tmp_path: Path,
    defacer: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(files.iterdir())
    given = [files / word if "." in word else word for word in command]
    done = defacer(*given)
    assert done.code == code, done.err
    said = done.out if command[0] == "probe" and code is ExitCode.FAILED else done.err
    assert len(said.strip().split(". ")) > 1, "a reason, and what to do"
    assert sorted(files.iterdir()) == before


def messages_in(source: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the first words of each error that a command prints without a name before it."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ALONE:
            texts = filter(None, map(_first_words, node.args))
            yield from ((node.lineno, text) for text in texts)


def _first_words(node: ast.expr) -> str | None:
    if isinstance(node, ast.JoinedStr) and node.values:
        return _first_words(node.values[0])
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@pytest.mark.parametrize("folder", ["functions", "local_emulator"])
def test_error_sentences_begin_with_a_capital_letter(folder: str) -> None:
    names = r"defacer_|gs://|fake-gcs-server"  # a sentence can begin with a name
    wrong = [
        f"{source.relative_to(ROOT)}:{line}: {text}"
        for source in sorted((ROOT / folder).rglob("*.py"))
        for line, text in messages_in(source)
        if re.match(r"[a-z]", text) and " " in text.strip() and not re.match(names, text)
    ]
    assert not wrong
