"""`defacer emulator`: run the whole pipeline on this machine. Each command is imported when it is used."""

from defacer.commands.common.conventions import new_app
from defacer.commands.common.lazy_group import LazyCommand, LazyGroup

EXAMPLES = """\
defacer emulator up --open                     start, follow the logs and open the console; Ctrl-C stops everything
defacer emulator upload in.mp4 --keep me.jpg -o out.mp4
defacer emulator upload in.mp4 --channel street --mode pixelate
defacer emulator status
defacer emulator logs worker --follow
defacer emulator down                          stop the emulator from another terminal
defacer emulator demo                          redact a generated clip, from start to end
defacer job status --emulator                  list all jobs
"""
MODULES = "defacer_emulator.commands"


class EmulatorGroup(LazyGroup):
    """The group of the emulator's commands."""

    lazy_commands = (
        LazyCommand("up", f"{MODULES}.up", "Start everything and follow the logs until Ctrl-C."),
        LazyCommand("down", f"{MODULES}.down", "Stop the emulator that `up` started in another terminal."),
        LazyCommand("upload", f"{MODULES}.upload", "Upload a video with the pictures of the people to keep."),
        LazyCommand("status", f"{MODULES}.status", "Show the addresses and variables of the emulator."),
        LazyCommand("logs", f"{MODULES}.logs", "Print the logs of the functions."),
        LazyCommand("demo", f"{MODULES}.demo", "Start, upload a video, wait, save the result, and stop."),
    )


app = new_app("Run the whole pipeline on this machine.", EXAMPLES, group=EmulatorGroup)


@app.callback()
def _group() -> None:  # Typer makes a group only of an app with a command or a callback
    pass
