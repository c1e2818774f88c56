"""The command `defacer`: its commands and groups, each imported when it is used."""

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from defacer.commands.common.conventions import add_shared_options, new_app
from defacer.commands.common.exit_codes import run_cli
from defacer.commands.common.lazy_group import LazyCommand, LazyGroup
from defacer.commands.common.signals import interrupt_on_signals

# A group whose extra is not installed is listed, and says how to install it.
COMMANDS = (
    LazyCommand("run", "defacer.commands.files.run", "Hide the faces in videos on this machine."),
    LazyCommand("probe", "defacer.commands.files.probe", "Show what a video is, and what its result keeps."),
    LazyCommand("tracks", "defacer.commands.files.tracks", "List the tracks of a report."),
    LazyCommand("render", "defacer.commands.files.render", "Write a video again with other decisions."),
    LazyCommand("doctor", "defacer.commands.doctor", "Check the installation and this machine."),
    LazyCommand("schema", "defacer.commands.schema", "Print the JSON Schema of a policy."),
    LazyCommand("version", "defacer.commands.version", "Print the versions of De-facer and of Python."),
    LazyCommand("live", "defacer.commands.live", "Redact a camera's picture in the browser.", "console"),
    LazyCommand("job", "defacer.commands.job", "List, re-render or erase the jobs of a pipeline.", "cloud"),
    LazyCommand("person", "defacer.commands.person", "Forget a person: pictures, names, results.", "cloud"),
    LazyCommand(
        "emulator",
        "defacer_emulator.commands.app",
        "Run the whole pipeline on this machine.",
        "emulator",
    ),
)
EXAMPLES = """\
defacer run street.mp4                            hide everyone
defacer run vlog.mp4 --keep me.jpg -o safe.mp4    hide everyone but me
defacer emulator up                               start the whole pipeline on this machine
defacer --install-completion                      complete commands and options with Tab
"""


class RootGroup(LazyGroup):
    """The group of all commands."""

    lazy_commands = COMMANDS


app = new_app(
    "Hide the faces in videos, except those of the people you name.",
    EXAMPLES,
    group=RootGroup,
    completion=True,
)


def _print_version(value: bool) -> None:
    if value:
        from defacer.commands.version import version

        print(f"defacer {version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. An error becomes one line on standard error."""
    logging.getLogger("defacer").addHandler(logging.NullHandler())  # the command prints errors itself
    command = add_shared_options(get_command(app))
    with interrupt_on_signals():
        return run_cli(lambda: command.main(arguments, prog_name="defacer", standalone_mode=False))


if __name__ == "__main__":
    sys.exit(main())
