"""`defacer person`: forget a person of a channel. It prints names to the terminal, and logs none."""

from typing import Annotated

import typer

from defacer.commands.common.confirmation import is_confirmed
from defacer.commands.common.conventions import Json, Yes, example_text, new_app, verbosity
from defacer.commands.common.deployment import PipelineCommand, chosen_deployment
from defacer.commands.common.exit_codes import ExitCode
from defacer.commands.common.result_lines import ResultLines
from defacer.commands.common.terminal import Terminal
from defacer.engine_host import RerenderEngine
from defacer.pipeline.channel import list_kept_people
from defacer.pipeline.privacy.forget_person import (
    ForgetOutcome,
    ForgetRequest,
    describe_person_data,
    forget_person,
)
from defacer.pipeline.privacy.person_data import PersonData, find_person_data

EXAMPLES = """\
defacer person forget Ada --channel street --emulator     list the results that show Ada; no new job keeps her
defacer person forget Ada --channel street --rerender --project my-project
"""
app = new_app("Forget a person of a channel.", EXAMPLES)


@app.callback()
def _group() -> None:  # without it, Typer merges the only command into the group
    pass


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
    request = ForgetRequest(person, channel, rerender, delete_unrenderable)
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
            return ExitCode.FAILED
        if not is_confirmed(f"{describe_person_data(data, request)}. Forget them?", yes):
            return ExitCode.FAILED
        outcome = forget_person(request, lines.add, terminal.print_line, RerenderEngine())
        if outcome.is_forgotten:
            end = outcome.summary
        else:
            end = ""
            terminal.print_line(f"{outcome.summary}{_advice(outcome)}")
        lines.finish(end, person=person, channel=channel, found=True, forgotten=outcome.is_forgotten)
        return 0 if outcome.is_forgotten else ExitCode.FAILED


def _advice(outcome: ForgetOutcome) -> str:
    options = [
        *(["--rerender"] if outcome.rerender_would_help else []),
        *(["--delete-unrenderable"] if outcome.delete_would_help else []),
    ]
    return f" Add {' and '.join(options)} to change that." if options else ""
