"""`defacer person`: forget a person of a channel. It prints names to the terminal, and logs none."""

from dataclasses import dataclass
from typing import Annotated

import typer

from defacer.commands.common.confirmation import is_confirmed
from defacer.commands.common.conventions import Json, Yes, example_text, new_app, verbosity
from defacer.commands.common.deployment import PipelineCommand, chosen_deployment
from defacer.commands.common.exit_codes import FAILED
from defacer.commands.common.result_lines import ResultLines
from defacer.commands.common.terminal import Terminal
from defacer.commands.engine_adapter import RerenderEngine
from defacer.pipeline.channel import list_kept_people
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.privacy import forget as steps
from defacer.pipeline.privacy.person_data import PersonData, VisibleIn, find_person_data
from defacer.plurals import pluralize

EXAMPLES = """\
defacer person forget Ada --channel street --emulator     list the results that show Ada; no new job keeps her
defacer person forget Ada --channel street --rerender --project my-project
"""
app = new_app("Forget a person of a channel.", EXAMPLES)


@app.callback()
def _group() -> None:  # without it, Typer merges the only command into the group
    pass


@dataclass(frozen=True)
class _Request:
    """The person to forget, and the handling of results that show the person."""

    person: str
    channel: str
    rerender: bool
    delete_unrenderable: bool

    @property
    def changes_results(self) -> bool:
        return self.rerender or self.delete_unrenderable


@app.command("forget", cls=PipelineCommand, epilog=example_text(EXAMPLES))
def forget(
    context: typer.Context,
    person: Annotated[
        str, typer.Argument(metavar="PERSON", help="The name of the target picture or its folder.")
    ],
    channel: Annotated[str, typer.Option("--channel", metavar="NAME", help="The channel.")],
    rerender: Annotated[
        bool,
        typer.Option("--rerender", help="Re-render the videos that show the person, with the person hidden."),
    ] = False,
    delete_unrenderable: Annotated[
        bool,
        typer.Option(
            "--delete-unrenderable",
            help="Delete the videos that can't be re-rendered, because their source was deleted.",
        ),
    ] = False,
    yes: Yes = False,
    json_output: Json = False,
) -> int:
    """Delete a person's pictures and name, and list the videos that show the person.

    The exit code is 1 while a video shows the person or can't be checked, and if nothing of the person is stored.
    """
    request = _Request(person, channel, rerender, delete_unrenderable)
    terminal = Terminal(verbosity(context))
    with chosen_deployment(context), ResultLines(json_output) as lines:
        data = find_person_data(channel, person)
        if data == PersonData():
            others = ", ".join(list_kept_people(channel)) or "no one"
            lines.finish(
                f"Nothing of {person} is stored in channel {channel}. Its target pictures name: {others}. Check the "
                "spelling of the name.",
                person=person,
                channel=channel,
                found=False,
                forgotten=False,
            )
            return FAILED
        if not is_confirmed(_question(data, request), yes):
            return FAILED
        data = steps.withdraw(channel, person, lines.add_removed, terminal.print_line)
        for shown in data.visible_in:
            _hide_or_delete(shown, request, lines, terminal)
        if request.changes_results:
            steps.delete_versions(data.old_versions, lines.add_removed)
        return _conclude(data, find_person_data(channel, person), request, lines, terminal)


def _question(data: PersonData, request: _Request) -> str:
    return (
        f"{request.person} in channel {request.channel}: {pluralize(len(data.pictures), 'target picture')}, "
        f"{pluralize(len(data.running_jobs), 'running job')}, named in "
        f"{pluralize(len(data.documents_naming_person), 'document')}, "
        f"visible in {pluralize(len(data.visible_in), 'result')}. Forget them?"
    )


def _hide_or_delete(shown: VisibleIn, request: _Request, lines: ResultLines, terminal: Terminal) -> None:
    """Re-render the result or delete it, as the options say, or print why not."""
    obstacle, job = shown.obstacle, shown.report.job
    if obstacle is None and request.rerender:
        terminal.print_line(f"Re-rendering {shown.result} ...")
        try:
            steps.rerender_hidden(shown, request.person, RerenderEngine())
        except PermanentError as error:
            obstacle = str(error)
        else:
            lines.add("rerendered", shown.result, f"re-rendered {shown.result} (job {job})")
            return
    if obstacle is not None and request.delete_unrenderable:
        steps.delete_result(shown, lines.add_removed)
        return
    how = f"it can't be re-rendered: {obstacle}" if obstacle else "it can be re-rendered"
    lines.add("shows_person", shown.result, f"shows {request.person} {shown.result} (job {job}): {how}")


def _find_new(before: PersonData, now: PersonData, request: _Request) -> list[str]:
    """Return the person's data that arrived while the command ran."""
    known = {shown.report.job for shown in before.visible_in}
    new = [shown.result for shown in now.visible_in if shown.report.job not in known]
    new += [f"job {job}" for job in now.running_jobs]
    documents = (ref for ref, _ in now.documents_naming_person)
    new += map(str, (*now.pictures, *now.orphaned_objects, *documents))
    return [*new, *map(str, now.old_versions)] if request.changes_results else new


def _conclude(
    before: PersonData, now: PersonData, request: _Request, lines: ResultLines, terminal: Terminal
) -> int:
    """Print the remaining work. Return the exit code."""
    terminal.print_line("Remove copies outside these buckets yourself, such as downloads.")
    for name in now.results_without_report:
        lines.add("without_report", name, f"has no readable report {name}: check it yourself")
    for job in now.unreadable_jobs:
        lines.add_unreadable(job)
    new = _find_new(before, now, request)
    for name in new:
        lines.add("new", name, f"new {name}")
    left = now.visible_in or now.old_versions or now.results_without_report or now.unreadable_jobs
    end = ""
    if new:
        terminal.print_line(
            f"{pluralize(len(new), 'object')} of {request.person} arrived during this command. Run the same command "
            "again."
        )
    elif left:
        terminal.print_line(
            f"New videos hide {request.person}. {pluralize(len(now.visible_in), 'result')} and "
            f"{pluralize(len(now.old_versions), 'older version')} still show the person, and "
            f"{pluralize(len(now.results_without_report), 'result')} can't be checked.{_advice(now, request)}"
        )
    else:
        end = f"{request.person} is forgotten in channel {request.channel}: no picture, no name, no result."
    forgotten = not (new or left)
    lines.finish(end, person=request.person, channel=request.channel, found=True, forgotten=forgotten)
    return 0 if forgotten else FAILED


def _advice(now: PersonData, request: _Request) -> str:
    hint = []
    if (now.visible_in or now.old_versions) and not request.rerender:
        hint.append("--rerender")
    unrenderable = request.rerender or any(shown.obstacle for shown in now.visible_in)
    if now.visible_in and unrenderable and not request.delete_unrenderable:
        hint.append("--delete-unrenderable")
    return f" Add {' and '.join(hint)} to change that." if hint else ""
