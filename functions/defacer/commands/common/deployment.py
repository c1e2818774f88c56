"""Choose the pipeline that a command works on: an emulator on this machine, or a project on Google Cloud.

`--emulator`, `--dir` or `--project` choose it. Without these options, the environment does: `DEFACER_PROJECT` and the
buckets, as the functions have them, or `GOOGLE_CLOUD_PROJECT`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from defacer.commands.common.exit_codes import MissingExtraError, UsageError
from defacer.commands.common.extras import missing_packages
from defacer.pipeline.settings import emulator_hosts, named_project, use_variables
from defacer.program import EMULATOR_FOLDER, quote_words

CHOSEN = "defacer.deployment"  # the key in `Context.meta`

UseEmulator = Annotated[
    bool, typer.Option("--emulator", help="Use the emulator that runs in .emulator, or in --dir.")
]
Folder = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="The folder of the emulator. [default: .emulator]")
]
Project = Annotated[
    str | None,
    typer.Option("--project", metavar="PROJECT", help="Use the buckets of this project on Google Cloud."),
]


@dataclass(frozen=True)
class Deployment:
    """The pipeline that a command works on. `option` chooses it on a command line.

    An emulator has a folder with logs and a time when it started, and can have a console. `check` raises an error if it
    has ended.
    """

    option: str = ""
    check: Callable[[], None] = lambda: None
    logs: Path | None = None
    started_at: datetime | None = None
    console_url: str | None = None


class PipelineCommand(TyperCommand):
    """A command with the options that choose a pipeline. `chosen_deployment` uses their values."""

    def __init__(self, *arguments: Any, **attributes: Any):
        super().__init__(*arguments, **attributes)
        self.params += get_command(_OPTIONS).params

    def invoke(self, ctx: Any) -> Any:
        ctx.meta[CHOSEN] = [ctx.params.pop(name) for name in ("emulator", "folder", "project")]
        return super().invoke(ctx)


_OPTIONS = typer.Typer(add_completion=False, rich_markup_mode=None)


@_OPTIONS.command()
def _options(emulator: UseEmulator = False, folder: Folder = None, project: Project = None) -> None:
    pass


def chosen_deployment(context: typer.Context) -> AbstractContextManager[Deployment]:
    """Return `use_deployment` for the options of a `PipelineCommand`."""
    return use_deployment(*context.meta[CHOSEN])


@contextmanager
def use_deployment(emulator: bool, folder: Path | None, project: str | None) -> Iterator[Deployment]:
    """Let the pipeline's code in this block use the chosen pipeline. Raise UsageError if none is chosen."""
    if emulator or folder is not None:
        if project is not None:
            raise UsageError("--project and --emulator exclude each other. Choose one of them.")
        with _use_emulator(folder or EMULATOR_FOLDER) as deployment:
            yield deployment
        return
    if project is not None and emulator_hosts():
        raise UsageError(
            f"--project {project} is on Google Cloud, but the environment points to an emulator: "
            f"{', '.join(emulator_hosts())}. Unset these variables, or use --emulator."
        )
    chosen = project or named_project()
    if chosen is None:
        raise UsageError(
            f"No pipeline is chosen. Add --emulator or --project PROJECT.{_hint(EMULATOR_FOLDER)}"
        )
    with use_variables(_variables(chosen, overwrite=project is not None)):
        yield Deployment(f" --project {quote_words([project])}" if project else "")


@contextmanager
def _use_emulator(path: Path) -> Iterator[Deployment]:
    _require_emulator_packages()
    from defacer_emulator.processes.environment import use_emulator
    from defacer_emulator.processes.state import StateFolder

    folder = StateFolder(path.resolve())
    state = folder.require_running()
    with use_emulator(state):
        yield Deployment(
            folder.option() or " --emulator",
            lambda: folder.require_unchanged(state),
            folder.logs,
            state.started_at,
            state.console_url,
        )


def _require_emulator_packages() -> None:
    if missing := missing_packages("emulator"):
        raise MissingExtraError("--emulator", "emulator", missing)


def _variables(project: str, *, overwrite: bool) -> dict[str, str]:
    """Return the variables that the environment lacks, with Terraform's names (`infra/names.tf`)."""
    found = {
        "DEFACER_PROJECT": project,
        "DEFACER_INTAKE_BUCKET": f"{project}-intake",
        "DEFACER_WORK_BUCKET": f"{project}-work",
        "DEFACER_OUTPUT_BUCKET": f"{project}-output",
    }
    return found if overwrite or named_project("DEFACER_PROJECT") is None else {}


def _hint(path: Path) -> str:
    """Return a sentence about the emulator that runs in this folder, if any."""
    if not (path / "state.json").is_file() or missing_packages("emulator"):
        return ""
    from defacer_emulator.processes.state import StateFolder

    state = StateFolder(path.resolve()).read()
    return f" An emulator runs in {path}." if state is not None and state.parent.is_alive() else ""
