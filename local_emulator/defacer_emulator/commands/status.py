"""`defacer emulator status`: show the addresses and processes of the running emulator."""

import json

import typer

from defacer.commands.common.conventions import Json
from defacer.commands.common.deployment import Folder
from defacer.program import EMULATOR_FOLDER, program
from defacer_emulator.processes.state import StateFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def print_status(folder: Folder = None, json_output: Json = False) -> None:
    """Show the addresses and processes of the emulator, and the variables that connect a program to it.

    The exit code is 1 if none runs.
    """
    state_folder = StateFolder((folder or EMULATOR_FOLDER).resolve())
    state = state_folder.require_running()
    processes = {process.name: process.pid for process in state.processes if process.is_alive()}
    if json_output:
        variables = dict(state.environment())
        print(json.dumps({**state.addresses(), "processes": processes, "environment": variables}))
        return
    print(
        f"The emulator runs in {state_folder.path} since {state.started_at.astimezone():%Y-%m-%d %H:%M:%S}."
    )
    for name, address in state.addresses().items():
        print(f"  {name:<12} {address}{f' ({state.pubsub})' if name == 'pubsub' else ''}")
    print(f"  {'logs':<12} {state_folder.logs}")
    print("Processes: " + ", ".join(f"{name} ({pid})" for name, pid in processes.items()))
    print("To connect a program of yours:")
    print(*(f"  export {name}={value}" for name, value in state.environment().items()), sep="\n")
    print(f"To list its jobs: {program()} job status{state_folder.option() or ' --emulator'}")
