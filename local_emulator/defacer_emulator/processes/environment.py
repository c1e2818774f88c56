"""Environment variables that make pipeline code use an emulator, in child processes and in this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer_emulator.processes.state import EmulatorState
from defacer_emulator.processes.supervisor import HOST

# They would lead a process to Google Cloud or change the servers. The secret belongs to the function webhook only.
REMOVED = (
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "WORKERS", "THREADS"),
    "DEFACER_WEBHOOK_SECRET",
)
RETRY_SECONDS = 5


def child_environment() -> dict[str, str]:
    """Return this process's environment for child processes, without variables that lead away from the emulator.

    The processes import no file of their current folder, which is the emulator's.
    """
    environment = {name: value for name, value in os.environ.items() if name not in REMOVED}
    no_proxy = ",".join(
        filter(None, (environment.get("NO_PROXY") or environment.get("no_proxy"), HOST, "localhost"))
    )
    settings_of_python = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    return {**environment, "NO_PROXY": no_proxy, "no_proxy": no_proxy, **settings_of_python}


@contextmanager
def use_emulator(state: EmulatorState) -> Iterator[None]:
    """Let pipeline code that runs in this block use the emulator.

    Not for several threads: the block changes the environment of this process, and restores it at its end.
    """
    before = dict(os.environ)
    # A command must not retry for long against a server of this machine that was stopped.
    short = {"DEFACER_RETRY_SECONDS": str(RETRY_SECONDS)}
    _replace_environment({**short, **child_environment(), **state.environment()})
    try:
        yield
    finally:
        _replace_environment(before)


def _replace_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for read_once in (settings, objects.client, pubsub.publisher):
        read_once.cache_clear()
