"""Every sentence of a failure in the source: no bucket, no word of a library, and a code that the console knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from defacer.pipeline.error_codes import CAN_TRY_AGAIN, can_try_again
from tests.sentences import FOREIGN
from tests.servers import ROOT

# What fails a job, or is shown by a page.
PACKAGES = ("engine", "ingest", "worker", "merge", "dead_letter", "pipeline", "console", "pages")
FAILING = (*PACKAGES[:-2], "privacy")
# Errors whose messages are for a log or a terminal.
FOR_OTHERS = {"RetryableError", "MalformedMessageError", "ClaimedError", "ClaimLostError", "DeadlineError"}
FOR_OTHERS |= {"OutputError", "GpuError", "WeightsError", "ArgumentError", "SettingsError", "ValueError"}
NO_JOBS = {"no-job", "not-quiet", "malformed-message"}  # of commands, and of messages without a job


def modules(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / "functions" / "defacer" / package).rglob("*.py")):
            if path.name != "__main__.py":
                yield path, ast.parse(path.read_text())


def errors(tree: ast.AST) -> Iterator[ast.Call]:
    """Every making of an error whose message a channel's owner can read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name.endswith(("Error", "HTTPException", "_beyond", "_mismatch")) and name not in FOR_OTHERS:
                yield node


def texts(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def test_no_sentence_of_a_failure_has_a_bucket_or_a_library_s_words() -> None:
    wrong = []
    for path, tree in modules(*PACKAGES):
        for call in errors(tree):
            shown = [*call.args, *(given.value for given in call.keywords if given.arg != "detail")]
            wrong += [(path.name, text) for part in shown for text in texts(part) if FOREIGN.search(text)]
    assert wrong == []


def test_no_sentence_interpolates_a_library_s_message_or_an_address() -> None:
    """An FFmpeg error's text, or a reference, would get into it at run time."""
    wrong = []
    for path, tree in modules(*PACKAGES):
        for call in errors(tree):
            for value in ast.walk(call):
                if isinstance(value, ast.FormattedValue):
                    code = ast.unparse(value.value)
                    if (
                        code.endswith((".strerror", ".bucket"))
                        or "strerror" in code
                        or code in ("ref", "source")
                    ):
                        wrong.append((path.name, code))
    assert wrong == []


def test_only_object_references_spell_an_address() -> None:
    places = [
        (path.name, text)
        for path, tree in modules(*PACKAGES)
        for text in texts(tree)
        if text == "gs://" or (text.startswith("gs://") and " " not in text)
    ]
    assert places == [("base.py", "gs://")]


def codes() -> set[str]:
    found = set()
    for _, tree in modules(*FAILING):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("PermanentError") and node.args:
                found |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("_beyond"):
                found |= {node.args[1].value} if isinstance(node.args[1], ast.Constant) else set()
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code":
                found |= {node.value.value} if isinstance(node.value, ast.Constant) else set()
    return {str(code) for code in found}


def test_every_code_states_whether_trying_again_helps() -> None:
    assert len(codes()) > 20
    assert codes() - NO_JOBS - CAN_TRY_AGAIN.keys() == set()


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        ("gave-up", True),
        ("bad-policy", True),
        ("not-a-video", False),
        ("too-long", False),
        ("new-code", False),
    ],
)
def test_retry_advice_depends_only_on_the_code(code: str, helps: bool) -> None:
    assert can_try_again(code) == helps
