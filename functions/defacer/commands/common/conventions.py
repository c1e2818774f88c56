"""What all commands share: options, help, examples, and how much they print."""

import logging
import sys
from typing import Annotated, Any

import typer
from typer.main import get_command

VERBOSITY = "defacer.verbosity"  # the key in `Context.meta`, which all contexts of a call share

HELP_OPTIONS = ["-h", "--help"]

# Annotate a parameter with these. Its default is False.
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]
Force = Annotated[bool, typer.Option("--force", help="Replace output files that exist.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def new_app(
    purpose: str, examples: str = "", group: type[Any] | None = None, *, completion: bool = False
) -> typer.Typer:
    """Return a Typer app with plain help. `examples` has one command line a line."""
    return typer.Typer(
        help=purpose,
        epilog=example_text(examples),
        cls=group,
        no_args_is_help=True,
        add_completion=completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP_OPTIONS},
    )


def example_text(examples: str) -> str | None:
    """Return the examples as the end of a command's help."""
    lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())
    return f"\b\nExamples:\n{lines}" if lines else None


def verbosity(context: typer.Context) -> int:
    """Return how much to print: -1 with --quiet, 0, or 1 and more with --verbose."""
    return int(context.meta.get(VERBOSITY, 0))


def add_shared_options(command: Any) -> Any:
    """Add --verbose and --quiet to a command, or to all commands of a group. Return the command."""
    for parameter in command.params:
        if parameter.param_type_name == "argument" and not parameter.type_descriptor.is_choice:
            parameter.display_type_rich = _hide_type  # Typer shows `IN <list[Path]>`
    command.params += get_command(_SHARED).params
    for below in getattr(command, "commands", {}).values():
        add_shared_options(below)
    return command


def _hide_type(ctx: Any) -> None:  # noqa: ARG001 - Typer names the argument
    return None


_SHARED = typer.Typer(add_completion=False, rich_markup_mode=None)


def _set_verbose(context: typer.Context, count: int) -> None:
    if count:
        context.meta[VERBOSITY] = count
        logging.basicConfig(level=logging.DEBUG if count > 1 else logging.INFO, stream=sys.stderr)


def _set_quiet(context: typer.Context, value: bool) -> None:
    if value:
        context.meta[VERBOSITY] = -1


@_SHARED.command()
def _shared(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            expose_value=False,
            show_default=False,
            callback=_set_verbose,
            help="Print log lines too. -vv prints more.",
        ),
    ] = 0,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            expose_value=False,
            callback=_set_quiet,
            help="Print results and errors only.",
        ),
    ] = False,
) -> None:
    pass
