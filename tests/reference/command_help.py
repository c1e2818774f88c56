"""The help of each command, for the reference of `defacer`."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import typer
from typer.main import get_command

from defacer.commands.app import COMMANDS, app
from defacer.commands.common.conventions import HELP_OPTIONS, add_shared_options

WIDTH = 100


def command_reference() -> str:
    """Return a section for each command, with what its `--help` prints."""
    sections = [_section("defacer", add_shared_options(get_command(app)))]
    for lazy in COMMANDS:
        if find_spec(lazy.module):
            sections += _sections(f"defacer {lazy.name}", lazy.load())
    return "\n\n".join(sections)


def _sections(name: str, command: Any) -> Iterator[str]:
    yield _section(name, command)
    for below in getattr(command, "commands", {}).values():
        yield from _sections(f"{name} {below.name}", below)


def _section(name: str, command: Any) -> str:
    context = typer.Context(
        command,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=HELP_OPTIONS,
    )
    return f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```"
