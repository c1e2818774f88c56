"""A group that lists its commands without importing them, and checks that a command's packages are installed."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from defacer.commands.common.conventions import add_shared_options
from defacer.commands.common.exit_codes import MissingExtraError
from defacer.commands.common.extras import missing_packages


@dataclass(frozen=True)
class LazyCommand:
    """A command or a group of commands: the `app` of a module, which is imported when the command is used.

    `extra` is the extra of the package `defacer` that it needs, or empty.
    """

    name: str
    module: str
    purpose: str
    extra: str = ""

    def load(self) -> Any:
        """Return the command. Raise MissingExtraError if packages of its extra are not installed."""
        if missing := missing_packages(self.extra):
            raise MissingExtraError(f"defacer {self.name}", self.extra, missing)
        command = get_command(import_module(self.module).app)
        command.name = self.name
        return add_shared_options(command)


class LazyGroup(TyperGroup):
    """A group whose commands are listed in `lazy_commands`. `--help` and completion of names import none of them."""

    lazy_commands: ClassVar[tuple[LazyCommand, ...]] = ()

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        for lazy in self.lazy_commands:
            self.add_command(TyperCommand(lazy.name, help=lazy.purpose))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        for lazy in self.lazy_commands:
            if lazy.name == name:
                command = lazy.load()
        return name, command, rest
