"""The messages of all errors in the source: no bucket, no text of a library, and an action for every code."""

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from defacer.engine import errors as engine_errors
from defacer.engine.errors import EngineError, EngineErrorCode
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from tests.sentences import FOREIGN
from tests.servers import ROOT

# What fails a job, or is shown by a page.
PACKAGES = ("engine", "ingest", "worker", "merge", "dead_letter", "pipeline", "web")
# Errors whose messages are for a log or a terminal.
FOR_OTHERS = {"RetryableError", "MalformedMessageError", "LeaseTakenError", "LeaseLostError", "DeadlineError"}
FOR_OTHERS |= {"OutputError", "GpuError", "WeightsError", "ArgumentError", "SettingsError", "ValueError"}
# The verb of a sentence that asks the reader to do something.
ACTION = re.compile(
    r"(?:^|[.:;,] |, or |and |then )"
    r"(add|ask|change|choose|correct|cut|delete|drop|erase|export|fetch|hide|install|look|remove|rename|report|run|"
    r"save|say|set|start|stop|try|unset|upload|use|wait|watch)\b",
    re.IGNORECASE,
)


def modules(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / "functions" / "defacer" / package).rglob("*.py")):
            if path.name != "__main__.py":
                yield path, ast.parse(path.read_text())


@cache
def error_makers() -> set[str]:
    """Return the names of the functions that return an error."""
    functions = (node for _, tree in modules(*PACKAGES) for node in ast.walk(tree))
    return {
        node.name
        for node in functions
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns).endswith("Error")
    }


def test_functions_that_make_errors_are_known() -> None:
    assert {"_exceeded", "source_gone"} <= error_makers()


def errors(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield every call that makes an error whose message a channel's owner can read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if (
                name.endswith(("Error", "HTTPException")) or name in error_makers()
            ) and name not in FOR_OTHERS:
                yield node


def texts(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def test_no_message_has_a_bucket_or_the_text_of_a_library() -> None:
    wrong = []
    for path, tree in modules(*PACKAGES):
        for call in errors(tree):
            shown = [*call.args, *(given.value for given in call.keywords if given.arg != "detail")]
            wrong += [(path.name, text) for part in shown for text in texts(part) if FOREIGN.search(text)]
    assert wrong == []


def test_no_message_interpolates_a_library_s_text_or_an_address() -> None:
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


def test_only_references_and_forget_format_an_address() -> None:
    places = [
        (path.name, text)
        for path, tree in modules(*PACKAGES)
        for text in texts(tree)
        if text == "gs://" or (text.startswith("gs://") and " " not in text)
    ]
    # What `person forget` prints to a terminal names the objects of results.
    assert set(places) == {("base.py", "gs://"), ("person_data.py", "gs://")}


def classes_by_code() -> dict[str, str]:
    """Return the code of each of the engine's error classes, by the name of the class."""
    classes = dict(inspect.getmembers(engine_errors, inspect.isclass))
    return {name: kind.code for name, kind in classes.items() if issubclass(kind, EngineError)}


class _Sources:
    """The functions and the constants of the source by their names, to find the text of an error."""

    def __init__(self) -> None:
        self.trees = [tree for _, tree in modules(*PACKAGES, "commands")]
        nodes = [node for tree in self.trees for node in ast.walk(tree)]
        self.functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
        assigned = [node for tree in self.trees for node in tree.body if isinstance(node, ast.Assign)]
        self.constants = {ast.unparse(node.targets[0]): node.value for node in assigned}

    def text_of(self, call: ast.AST) -> str:
        """Return the constant text in a call, with that of its constants and of the functions that it calls."""
        parts = [call]
        for node in ast.walk(call):
            if isinstance(node, ast.Name | ast.Attribute):
                name = ast.unparse(node).rpartition(".")[2]
                parts += [found[name] for found in (self.constants, self.functions) if name in found]
        return " ".join(text for part in parts for text in texts(part))

    def code_of(self, call: ast.Call) -> str | None:
        """Return the error code that a call makes an error with."""
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            for value in (argument, self.constants.get(ast.unparse(argument).rpartition(".")[2], argument)):
                if ast.unparse(value).startswith("ErrorCode."):
                    return ErrorCode[ast.unparse(value).removeprefix("ErrorCode.")]
        return classes_by_code().get(ast.unparse(call.func))


@cache
def messages_by_code() -> dict[str, list[str]]:
    """Return the constant text of every error in the source, by its code."""
    sources, found = _Sources(), defaultdict(list)
    for call in (node for tree in sources.trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        code = sources.code_of(call)
        if code is not None:
            found[code].append(sources.text_of(call))
    return found


@pytest.mark.parametrize("code", sorted(set(ErrorCode) - {ErrorCode.MALFORMED_MESSAGE}))
def test_every_error_code_has_a_message_with_an_action(code: ErrorCode) -> None:
    """But for malformed messages, which no owner has sent."""
    messages = messages_by_code()[code]
    assert any(ACTION.search(message) for message in messages), messages


def test_the_engine_s_error_codes_are_among_the_pipeline_s() -> None:
    assert {code.value for code in EngineErrorCode} <= {code.value for code in ErrorCode}
    assert set(classes_by_code().values()) == set(EngineErrorCode)


def test_an_error_with_an_unknown_code_is_refused() -> None:
    with pytest.raises(ValueError, match="new-code"):
        PermanentError("new-code", "A message.")


@pytest.mark.parametrize(
    ("code", "helps"),
    [("exhausted", True), ("bad-policy", True), ("not-a-video", False), ("too-long", False)],
)
def test_trying_again_helps_by_the_code_alone(code: str, helps: bool) -> None:
    assert ErrorCode(code).can_try_again == helps
