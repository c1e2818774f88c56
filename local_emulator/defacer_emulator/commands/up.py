"""`defacer emulator up`: run the emulator in the foreground."""

import json
import os
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from defacer.commands.common.conventions import Json, example_text, verbosity
from defacer.commands.common.deployment import Folder
from defacer.program import EMULATOR_FOLDER, program
from defacer_emulator.chaos.plan import read_plan
from defacer_emulator.commands.options import PubSub
from defacer_emulator.emulator import FUNCTIONS_FOLDER, Emulator, EmulatorOptions, Receiver
from defacer_emulator.errors import EmulatorUsageError
from defacer_emulator.processes.logs import LogFollower
from defacer_emulator.processes.ports import SERVICES
from defacer_emulator.processes.supervisor import HOST
from defacer_emulator.reloader import Reloader
from defacer_emulator.setup.weights_download import fetch_weights

POLL_SECONDS = 0.2
SECRET_VARIABLE = "DEFACER_WEBHOOK_SECRET"  # noqa: S105 - its name
EXAMPLES = """\
defacer emulator up --open
defacer emulator up --reload --workers 2
defacer emulator up --port console=9000 --dir /tmp/another
"""
OpenConsole = Annotated[bool, typer.Option("--open", help="Open the console in the browser once it answers.")]
Reload = Annotated[bool, typer.Option("--reload", help="Start a function again when its code changes.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, metavar="N", help="Number of segments to process at a time.")
]
Ports = Annotated[
    list[str],
    typer.Option(
        "--port",
        metavar="SERVICE=PORT",
        help="The port of a service; 0 means any free port. Repeatable. The services and their default ports: "
        + ", ".join(f"{name}={service.default}" for name, service in SERVICES.items())
        + ". If a default port is in use, a free port is used.",
    ),
]
FunctionsFolder = Annotated[
    Path | None,
    typer.Option("--functions", metavar="DIR", help="Run NAME/main.py from another folder, to try a change."),
]
Webhook = Annotated[
    str | None,
    typer.Option(
        "--webhook",
        metavar="URL",
        help=f"Call this URL at the end of each job. The secret in the variable {SECRET_VARIABLE}, at least 32 "
        "characters, signs the calls.",
    ),
]
Chaos = Annotated[
    str | None,
    typer.Option(
        "--chaos",
        metavar="SEED|FILE",
        help="Inject faults: by a seed, by a plan in a file, or by the chaos.log of a run to replay.",
    ),
]
Bind = Annotated[
    str,
    typer.Option(
        "--bind",
        metavar="ADDRESS",
        help="Listen at this address for browsers. In a container it is 0.0.0.0. The pages have no login, so do "
        "not open them to a network.",
    ),
]
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES))
def up(  # noqa: PLR0913 - each argument is an option
    context: typer.Context,
    folder: Folder = None,
    open_console: OpenConsole = False,
    reload: Reload = False,
    workers: Workers = 1,
    pubsub: PubSub = "auto",
    port: Ports = [],  # noqa: B006
    functions: FunctionsFolder = None,
    webhook: Webhook = None,
    chaos: Chaos = None,
    bind: Bind = HOST,
    json_output: Json = False,
) -> None:
    """Start the emulator and follow the logs until Ctrl-C. With --quiet, print no logs.

    With --json, the only output is one line with the addresses when everything is ready.
    """
    options = EmulatorOptions(
        folder or EMULATOR_FOLDER,
        pubsub,
        workers,
        (functions or FUNCTIONS_FOLDER).resolve(),
        chaos=read_plan(chaos) if chaos is not None else None,
        receiver=Receiver(webhook, os.environ.get(SECRET_VARIABLE, "")) if webhook else None,
        console=True,
        live=True,
        ports=dict(map(parse_port, port)),
        default_ports=True,
        bind=bind,
    )
    quiet = verbosity(context) < 0
    run_emulator(options, reload=reload, open_console=open_console, quiet=quiet, as_json=json_output)


def parse_port(text: str) -> tuple[str, int]:
    """Return the service and the port of `SERVICE=PORT`."""
    name, _, number = text.partition("=")
    if name not in SERVICES:
        raise EmulatorUsageError(
            f"--port {text!r} names no service. Write SERVICE=PORT with one of {', '.join(SERVICES)}."
        )
    if not (number.isascii() and number.isdigit() and int(number) < 2**16):
        raise EmulatorUsageError(f"--port {text!r} has no port from 0 to 65535. Write {name}=PORT.")
    return name, int(number)


def run_emulator(
    options: EmulatorOptions, *, reload: bool, open_console: bool, quiet: bool, as_json: bool
) -> None:
    """Run the emulator until it is interrupted. Raise EmulatorError, with everything stopped, if a process ends."""
    show = _ignore if as_json else _show
    if options.functions == FUNCTIONS_FOLDER:
        fetch_weights(show)
    show(f"Starting in {options.state} ...")
    try:
        with Emulator(options) as emulator:
            if as_json:
                print(json.dumps(emulator.state.addresses()), flush=True)
            for line in (*emulator.notices, banner(emulator)):
                show(line)
            if open_console:
                webbrowser.open(str(emulator.state.console_url))
            logs = LogFollower([] if quiet or as_json else emulator.log_files())
            follow(emulator, logs, Reloader(emulator) if reload else None, show)
    except KeyboardInterrupt:
        show("\nStopped.")


def follow(
    emulator: Emulator, logs: LogFollower, reloader: Reloader | None, show: Callable[[str], None]
) -> None:
    """Print the logs as they grow, and reload changed functions, until a process ends or the user interrupts."""
    try:
        while True:
            lines = reloader.reload_changed() if reloader is not None else ()
            for line in (*logs.new_lines(), *lines):
                show(line)
            emulator.check()
            time.sleep(POLL_SECONDS)
    finally:
        for line in logs.new_lines():
            show(line)


def _show(line: str) -> None:
    print(line, flush=True)


def _ignore(_: str) -> None:
    pass


def banner(emulator: Emulator) -> str:
    """Return what to do next, and the addresses of the pages. The console's comes first, and last again."""
    state = emulator.state
    return f"""\
Open the console in a browser:
  {state.console_url}
Or the live page, with a camera:
  {state.live_url}
Or upload a video from another terminal:
  {program()} emulator upload VIDEO --keep ME.jpg -o OUT.mp4{emulator.folder.option()}
For the addresses and variables that a program of yours needs:
  {program()} emulator status{emulator.folder.option()}
Ready: {state.console_url}. Ctrl-C stops everything."""
