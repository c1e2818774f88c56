"""`defacer doctor`: check the installation and this machine."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from defacer.commands.common.conventions import Json, example_text
from defacer.commands.common.exit_codes import ExitCode

if TYPE_CHECKING:
    from defacer.commands.machine_facts import MachineFacts

EXAMPLES = """\
defacer doctor
defacer doctor --fetch      download the models that are missing
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES))
def doctor(
    fetch: Annotated[bool, typer.Option("--fetch", help="Download the models that are missing.")] = False,
    json_output: Json = False,
) -> None:
    """Check the installation and this machine: packages, models, the CPU and the GPU. Say how to add missing parts.

    Exit code 1: something that `defacer run` needs is broken.
    """
    from dataclasses import asdict

    from defacer.commands.machine_facts import collect_facts

    if fetch:
        from defacer.engine.models import weights

        weights.fetch_all(progress=lambda line: typer.echo(line, err=True))
    facts = collect_facts()
    if json_output:
        print(json.dumps(asdict(facts), indent=2))
    else:
        print(*_lines(facts), sep="\n")
    if facts.problems:
        raise typer.Exit(ExitCode.FAILED)


def _lines(facts: "MachineFacts") -> Iterator[str]:
    yield f"De-facer {facts.defacer}, Python {facts.python}, {facts.system}"
    yield f"CPU: {facts.cpu}, {facts.cpu_count} cores, {', '.join(facts.cpu_features) or 'no known features'}"
    yield f"GPU: {facts.gpu}"
    yield f"Video: {facts.video}"
    yield ""
    yield f"Models in {facts.models_folder}:"
    for model in facts.models:
        yield f"  {model.name:<46} {model.state:<8} SHA-256 {model.sha256[:12]}..."
    yield ""
    yield "Packages:"
    for extra in facts.extras:
        state = "installed" if not extra.missing else f"missing {', '.join(extra.missing)}"
        yield f"  {extra.name or 'base':<18} {state}"
        if extra.missing:
            yield f"  {'':<18} {extra.purpose}: {extra.install}"
    for line in (*facts.problems, *facts.hints):
        yield ""
        yield line
