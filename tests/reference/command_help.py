"""The help of each command, for the reference of `defacer`."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from defacer.commands.app import app
from defacer.commands.common.conventions import HELP_OPTIONS, add_shared_options

WIDTH = 100


def command_reference() -> str:
    """Return a section for each command, with what its `--help` prints."""
    return "\n\n".join(_sections("defacer", add_shared_options(get_command(app))))


def _sections(name: str, command: Any) -> Iterator[str]:
    yield _section(name, command)
    lazy_commands = {lazy.name: lazy for lazy in getattr(command, "lazy_commands", ())}
    for below in getattr(command, "commands", {}).values():
        lazy = lazy_commands.get(below.name)
        yield from _sections(f"{name} {below.name}", lazy.load() if lazy else below)


def _section(name: str, command: Any) -> str:
    context = typer.Context(
        command,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=HELP_OPTIONS,
    )
    return f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```"
