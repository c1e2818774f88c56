"""Run the whole pipeline on this machine: storage, messaging and each function in its own process."""

import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from google.cloud import storage as cloud_storage

import defacer
from defacer.pipeline.settings import ALL_PRIVATE_HOSTS, Settings, SettingsError
from defacer.pipeline.topology import FUNCTIONS, WEBHOOK, Function
from defacer.program import EMULATOR_FOLDER
from defacer_emulator.chaos import setup as chaos
from defacer_emulator.chaos.plan import Plan
from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.processes.environment import child_environment
from defacer_emulator.processes.ports import choose_ports, free_ports
from defacer_emulator.processes.state import EmulatorState, ProcessRecord, StateFolder
from defacer_emulator.processes.supervisor import HOST, Processes, Program, is_http_ready, is_listening
from defacer_emulator.pubsub.delivery_policy import MAX_OUTSTANDING
from defacer_emulator.pubsub.google import INSTALL_HINT, find_google_emulator
from defacer_emulator.resources import Resources
from defacer_emulator.services import messaging, storage
from defacer_emulator.services.review_clock import run_review_clock

PROJECT = "defacer-local"
FUNCTIONS_FOLDER = Path(defacer.__file__).parent
PUBSUB = "pubsub"
CONSOLE, BROWSER_STORAGE, LIVE = "console", "browser-storage", "live"
SERVER_SECONDS = 60.0
# The worker loads the engine when it starts. That takes seconds on an idle machine, and longer on a busy one.
FUNCTION_SECONDS = 180.0

PubSubKind = Literal["auto", "google", "builtin"]


@dataclass(frozen=True)
class Receiver:
    """The URL that the function `webhook` calls at the end of a job, and the secret that signs the call."""

    url: str
    secret: str = field(repr=False)

    def environment(self) -> Mapping[str, str]:
        return {"DEFACER_WEBHOOK_URL": self.url, "DEFACER_WEBHOOK_SECRET": self.secret}


@dataclass(frozen=True)
class EmulatorOptions:
    """How to run the emulator.

    `functions` is the folder with NAME/main.py of each function, and each gets the environment `variables`. With
    `chaos`, the functions' traffic goes through proxies that inject faults (chaos/README.md). The function `webhook`
    runs only with a `receiver`, the console and the live page only if enabled. `ports` are the chosen ports by service
    (processes/ports.py). The other services listen on free ports, or with `default_ports` on free default ports.
    Services for browsers listen at the address `bind`.
    """

    state: Path = EMULATOR_FOLDER
    pubsub: PubSubKind = "auto"
    workers: int = 1
    functions: Path = FUNCTIONS_FOLDER
    variables: tuple[tuple[str, str], ...] = ()
    chaos: Plan | None = None
    receiver: Receiver | None = None
    console: bool = False
    live: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    default_ports: bool = False
    bind: str = HOST


class Emulator:
    """An emulator that runs for the length of a `with` block. Its processes end even if this process is killed.

    Entering raises UsageError if an emulator already runs in the folder, and EmulatorError if a process does not
    start. Inside the block, `state` has the ports, addresses and processes. `notices` name default ports in use.
    """

    state: EmulatorState
    notices: tuple[str, ...] = ()

    def __init__(self, options: EmulatorOptions = EmulatorOptions()):
        self.options = options
        self.folder = StateFolder(options.state.resolve())
        functions = (*FUNCTIONS, WEBHOOK) if options.receiver else FUNCTIONS
        self.resources = Resources(PROJECT, functions)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if not 1 <= self.options.workers <= MAX_OUTSTANDING:
            raise EmulatorUsageError(
                f"{self.options.workers} workers are not possible. Choose a number from 1 to {MAX_OUTSTANDING}."
            )
        if self.options.receiver:
            try:
                Settings.from_environment(
                    {**self.resources.environment(), **self.options.receiver.environment()}
                )
            except SettingsError as error:
                raise EmulatorUsageError(f"The webhook can't be used: {error}.") from None
        with ExitStack() as stack:
            stack.enter_context(self.folder.lock())
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def intake(self) -> str:
        return self.resources.intake

    @property
    def work(self) -> str:
        return self.resources.work

    @property
    def output(self) -> str:
        return self.resources.output

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that a program of yours needs to use this emulator."""
        return self.state.environment()

    def storage_client(self) -> cloud_storage.Client:
        return storage.create_client(PROJECT, self.state.storage_url)

    def restart(self, name: str) -> bool:
        """Start a stopped program again if it has ended. Return whether it was started."""
        was_started = self.processes.start_again(name)
        if was_started:
            self._write_state(ready=True)
        return was_started

    def check(self) -> None:
        """Raise EmulatorError with the end of the log if a process of the emulator has ended."""
        self.processes.check()

    def log_files(self) -> tuple[tuple[str, Path], ...]:
        """Return the name and the log of each process that users follow. Others log only their own internals."""
        return tuple(
            (name, self.folder.log(name))
            for name in self.processes.names()
            if name not in {PUBSUB, BROWSER_STORAGE}
        )

    def _start(self, stack: ExitStack) -> None:
        run = uuid.uuid4().hex
        ports, notices = choose_ports(self.options.ports, use_defaults=self.options.default_ports)
        self.notices = tuple(notices)
        inner_ports = free_ports(len(self.resources.functions) + chaos.PORTS, ports.values())
        function_ports, chaos_ports = inner_ports[: -chaos.PORTS], inner_ports[-chaos.PORTS :]
        pubsub_host = f"{HOST}:{ports['pubsub']}"
        kind, pubsub = self._pubsub_program(ports["pubsub"])
        self.state = EmulatorState(
            run=run,
            started_at=datetime.now(UTC),
            project=PROJECT,
            buckets=self.resources.buckets,
            pubsub=kind,
            storage_url=storage.url_of(ports["storage"]),
            pubsub_host=pubsub_host,
            function_urls={
                function.name: f"http://{HOST}:{port}"
                for function, port in zip(self.resources.functions, function_ports, strict=True)
            },
            console_url=f"http://{HOST}:{ports['console']}" if self.options.console else None,
            live_url=f"http://{HOST}:{ports['live']}" if self.options.live else None,
            parent=ProcessRecord.of("emulator", os.getpid()),
        )
        plan = self.options.chaos
        self._chaos = chaos.Setup.of(plan, self.state, chaos_ports) if plan else None
        stack.callback(self.folder.delete_state)
        self.processes = stack.enter_context(Processes(self.folder, run))
        self._write_state(ready=False)

        files = self.folder.path / "storage"
        environment = child_environment()
        server = storage.storage_program(self.resources, ports["storage"], files, pubsub_host, environment)
        programs = [
            self._function_program(function, port)
            for function, port in zip(self.resources.functions, function_ports, strict=True)
        ]
        if self._chaos:
            programs.append(self._chaos.program(self.folder.path / "chaos.json", environment))
        if self.options.console:
            programs += self._console_programs(ports["console"], ports["browser-storage"])
        if self.options.live:
            programs.append(self._live_program(ports["live"]))
        for program in (pubsub, server, *programs):
            self.processes.start(program)
        self._write_state(ready=False)
        self.processes.wait_until_ready([pubsub], SERVER_SECONDS)
        messaging.create_topics(pubsub_host, self.resources)
        self.processes.wait_until_ready([server, *programs], FUNCTION_SECONDS)
        storage.create_buckets(self.storage_client(), self.resources.buckets)
        instances = {function.name: self._instance_count(function) for function in self.resources.functions}
        urls = self._chaos.push_urls if self._chaos else self.state.function_urls
        messaging.create_subscriptions(pubsub_host, self.resources, urls, instances)
        stack.enter_context(run_review_clock(self.storage_client(), pubsub_host, self.resources))
        self._write_state(ready=True)

    def _write_state(self, *, ready: bool) -> None:
        self.state = self.state.model_copy(update={"processes": self.processes.records(), "ready": ready})
        self.folder.write(self.state)

    def _pubsub_program(self, port: int) -> tuple[str, Program]:
        google = None if self.options.pubsub == "builtin" else find_google_emulator()
        if self.options.pubsub == "google" and google is None:
            raise EmulatorUsageError(
                f"Google's Pub/Sub emulator is not installed. Install it ({INSTALL_HINT}), or choose --pubsub builtin."
            )
        command = google or (sys.executable, "-m", "defacer_emulator.pubsub")
        return (
            "google" if google else "builtin",
            Program(
                PUBSUB,
                (*command, f"--host={HOST}", f"--port={port}"),
                child_environment(),
                lambda: is_listening(port) and messaging.is_pubsub_ready(f"{HOST}:{port}", PROJECT),
            ),
        )

    def _function_program(self, function: Function, port: int) -> Program:
        source = self.options.functions / function.source
        if not source.is_file():
            raise EmulatorError(
                f"The function {function.name} has no {source}. Add the file, or choose another --functions folder."
            )
        command = (
            *(sys.executable, "-m", "functions_framework", f"--target={function.name}", f"--source={source}"),
            *("--signature-type=cloudevent", f"--host={HOST}", f"--port={port}"),
        )
        variables = {
            "WORKERS": str(self._instance_count(function)),
            "THREADS": str(function.concurrency),
            # gunicorn creates a socket there. Without this, all functions would use the same one in the user's home.
            "XDG_RUNTIME_DIR": str(self._empty_folder("run", function.name)),
            # Removes the files of a killed worker at the next start.
            "TMPDIR": str(self._empty_folder("tmp", function.name)),
        }
        if function == WEBHOOK and self.options.receiver:
            variables |= self.options.receiver.environment()
        if (
            self._instance_count(function) > 1
        ):  # each would use all cores: 28 s instead of 21 s for 2 on 2 cores
            variables["OMP_NUM_THREADS"] = str(
                max(1, (os.cpu_count() or 1) // self._instance_count(function))
            )
        proxies = self._chaos.function_environment if self._chaos else {}
        environment = {
            **child_environment(), **self.environment, **proxies, **variables, **dict(self.options.variables)
        }  # fmt: skip
        return Program(function.name, command, environment, lambda: is_http_ready(port))

    def _console_programs(self, port: int, storage_port: int) -> list[Program]:
        """Return the console, and the storage proxy for it and for browsers. Faults are not injected into either."""
        environment = {**child_environment(), **dict(self.options.variables)}
        proxy = (
            sys.executable,
            "-m",
            "defacer_emulator.services.storage_browser_proxy",
            self.state.storage_url,
        )
        variables = {
            **self.environment,
            "STORAGE_EMULATOR_HOST": f"http://{HOST}:{storage_port}",
            "DEFACER_CONSOLE_ORIGINS": f"http://{HOST}:{port}",
            "DEFACER_CONSOLE_SAMPLE": "defacer_emulator.demo",
            **({"DEFACER_LIVE_LINK": self.state.live_url} if self.state.live_url else {}),
            "TMPDIR": str(self._empty_folder("tmp", CONSOLE)),
        }
        return [
            Program(
                BROWSER_STORAGE,
                (*proxy, f"--port={storage_port}", f"--host={self.options.bind}"),
                environment,
                lambda: is_listening(storage_port),
            ),
            Program(
                CONSOLE,
                (
                    sys.executable,
                    "-m",
                    "defacer.web.console",
                    f"--host={self.options.bind}",
                    f"--port={port}",
                ),
                {**environment, **variables},
                lambda: is_http_ready(port, "/health"),
            ),
        ]

    def _live_program(self, port: int) -> Program:
        """Return the live page. Unlike on Google Cloud, it also reads cameras here and in private networks."""
        variables = {
            **self.environment,
            "DEFACER_LIVE_ORIGINS": f"http://{HOST}:{port}",
            "DEFACER_LIVE_ALLOW_LOOPBACK": "true",
            "DEFACER_LIVE_CHANNEL_LIST": "true",
            "DEFACER_LIVE_PRIVATE_HOSTS": ALL_PRIVATE_HOSTS,
            **({"DEFACER_CONSOLE_LINK": self.state.console_url} if self.state.console_url else {}),
            "DEFACER_LIVE_PORTS": "",
            "TMPDIR": str(self._empty_folder("tmp", LIVE)),
        }
        return Program(
            LIVE,
            (sys.executable, "-m", "defacer.web.live", f"--host={self.options.bind}", f"--port={port}"),
            {**child_environment(), **variables, **dict(self.options.variables)},
            lambda: is_http_ready(port, "/health"),
        )

    def _instance_count(self, function: Function) -> int:
        return self.options.workers if function.name == "worker" else 1

    def _empty_folder(self, kind: str, function: str) -> Path:
        folder = self.folder.path / kind / function
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder
