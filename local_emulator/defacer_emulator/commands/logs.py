"""`defacer emulator logs`: print the logs of the functions, of this run or of the last one."""

import json
import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated

import typer

from defacer.commands.common.conventions import Json, example_text
from defacer.commands.common.deployment import Folder
from defacer.program import EMULATOR_FOLDER
from defacer_emulator.errors import EmulatorUsageError
from defacer_emulator.processes.logs import LogFollower
from defacer_emulator.processes.state import StateFolder

POLL_SECONDS = 0.2
EXAMPLES = """\
defacer emulator logs worker merge --follow
defacer emulator logs --json --lines 1000
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES))
def print_logs(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Functions or servers, such as worker.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new lines until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="Print at most this many old lines.")
    ] = 100,
    folder: Folder = None,
    json_output: Json = False,
) -> None:
    """Print the last lines of the logs. Without a name, print those of all processes."""
    state_folder = StateFolder((folder or EMULATOR_FOLDER).resolve())
    found = {path.stem: path for path in sorted(state_folder.logs.glob("*.log"))}
    unknown = [name for name in names or () if name not in found]
    if unknown or not found:
        raise EmulatorUsageError(
            f"{state_folder.logs} has no log of {', '.join(unknown) or 'an emulator'}. It has logs of: "
            f"{', '.join(found) or 'nothing'}."
        )
    follower = LogFollower([(name, path) for name, path in found.items() if not names or name in names])
    for line in deque(_new_lines(follower, json_output), maxlen=lines):
        print(line, flush=True)
    while follow:
        time.sleep(POLL_SECONDS)
        for line in _new_lines(follower, json_output):
            print(line, flush=True)


def _new_lines(follower: LogFollower, as_json: bool) -> Iterator[str]:
    if not as_json:
        return follower.new_lines()
    return (json.dumps({"process": name, "line": line}) for name, line in follower.new_entries())
