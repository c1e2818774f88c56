"""Test the conventions that all commands of `defacer` share."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from defacer.commands import version
from defacer.commands.app import COMMANDS, main
from defacer.commands.common import lazy_group
from defacer.commands.common.exit_codes import ExitCode, UsageError, run_cli
from defacer.commands.common.extras import missing_packages, packages_of
from defacer.engine.errors import MissingPackageError, VideoError
from defacer.engine.runtime.installation import install_command
from defacer.pipeline.errors import RetryableError

# What only one kind of command may import: Google's clients, the web pages, and the models.
HEAVY = {
    "google.cloud.storage",
    "google.cloud.pubsub_v1",
    "starlette",
    "av",
    "numpy",
    "cv2",
    "openvino",
    "torch",
    "rich",
}


def test_help_lists_all_commands_and_imports_none() -> None:
    code = (
        "import sys; from defacer.commands.app import main; main(['--help']); print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, _, loaded = done.stdout.partition("MODULES")

    assert [lazy.name for lazy in COMMANDS if f"  {lazy.name} " not in shown] == []
    assert "Examples:\n" in shown
    assert not HEAVY & set(loaded.split())
    assert [lazy.module for lazy in COMMANDS if lazy.module in loaded.split()] == []


def test_installed_command_prints_the_version() -> None:
    command = str(Path(sys.executable).with_name("defacer"))
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"defacer {version.version()}\n"


def test_version_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["defacer"] == version.version()


def test_closed_output_ends_the_command_without_a_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "defacer", "version"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_unknown_command_exits_with_2_and_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["versoin"]) == 2
    assert "No such command 'versoin'. Did you mean 'version'" in capsys.readouterr().err


def test_list_of_numbers_asks_to_repeat_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "a.mp4", "a.jsonl", "b.mp4", "--hide", "1,2"]) == 2
    assert "'--hide': expected a whole number. Repeat the option" in capsys.readouterr().err


def test_missing_packages_name_the_extra_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        lazy_group, "missing_packages", lambda extra: ["psutil"] if extra == "emulator" else []
    )
    assert main(["emulator", "up"]) == 3
    assert capsys.readouterr().err == (
        "error: `defacer emulator` needs packages that are not installed: psutil. "
        f"Run: {install_command('emulator')}\n"
    )


def test_base_packages_are_read_from_the_installed_metadata() -> None:
    assert "av" in list(packages_of(""))
    assert missing_packages("") == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("Name a file."), 2, "error: Name a file."),
        (VideoError("it is not a video."), 1, "error: it is not a video."),
        (MissingPackageError("torch is missing."), 3, "error: torch is missing."),
        (RetryableError("the lease is held"), 1, "error: the lease is held. Run the same command again."),
        (FileNotFoundError(2, "No such file", "a b.mp4"), 1, "error: a b.mp4: No such file."),
        (BrokenPipeError(32, "Broken pipe"), 1, "error: Broken pipe."),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "error: Interrupted."),
        (typer.Abort(), ExitCode.INTERRUPTED, "error: Interrupted."),
        (ZeroDivisionError("by zero"), 1, "error: This is a fault in De-facer."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_error_becomes_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert run_cli(fail) == code
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1].startswith(line)
    assert ("Traceback" in shown) == isinstance(error, ZeroDivisionError)


def test_verbose_after_the_command_prints_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        assert main(["version", "-v"]) == 0
        assert root.level == logging.INFO
        assert root.handlers
    finally:
        root.handlers = before
        root.setLevel(logging.WARNING)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["defacer", "ren"], "render"),
        (["defacer", "render", "--mo"], "--mode"),
        (["defacer", "version", "--j"], "--json"),
    ],
    ids=lambda words: " ".join(words),
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_shell_completes_commands_and_options(
    shell: str,
    words: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each shell has its own variables for the words, and its own form of the answer."""
    monkeypatch.setenv("_DEFACER_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(words))
    monkeypatch.setenv("_TYPER_COMPLETE_WORD_TO_COMPLETE", words[-1])
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit):
        main([])
    offered = capsys.readouterr().out
    assert re.findall(r"--[a-z-]+|\brender\b", offered)[0] == expected
    assert "version" not in offered


def leaves_of(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield each command with its whole name."""
    below = getattr(command, "commands", {})
    if not below:
        yield name, command
    for each in below.values():
        yield from leaves_of(f"{name} {each.name}", each)


def test_every_command_has_a_purpose_examples_and_the_shared_options() -> None:
    groups = {lazy.name: lazy.load() for lazy in COMMANDS}
    commands = dict(leaf for name, group in groups.items() for leaf in leaves_of(name, group))
    assert len(commands) >= 17
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--verbose", "--quiet"} <= options, name
        assert command.help, name
        assert command.epilog or groups[name.partition(" ")[0]].epilog or name == "version", name
