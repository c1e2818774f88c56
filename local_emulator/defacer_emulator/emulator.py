"""The whole pipeline on this machine, as a block: storage, messaging and the functions, each a process."""

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
from defacer.pipeline.settings import Settings, SettingsError
from defacer.pipeline.topology import FUNCTIONS, WEBHOOK, Function
from defacer_emulator.chaos import setup as chaos
from defacer_emulator.chaos.plan import Plan
from defacer_emulator.errors import EmulatorError, UsageError
from defacer_emulator.processes.ports import choose_ports, free_ports
from defacer_emulator.processes.state import DEFAULT_STATE, EmulatorState, ProcessRecord, StateFolder
from defacer_emulator.processes.supervisor import (
    HOST,
    Processes,
    Program,
    answers_http,
    inherited_environment,
    listens,
)
from defacer_emulator.pubsub.google import INSTALL_HINT, find_google_emulator
from defacer_emulator.pubsub.policy import MAX_OUTSTANDING
from defacer_emulator.resources import Resources
from defacer_emulator.services import messaging, storage

PROJECT = "defacer-local"
FUNCTIONS_FOLDER = Path(defacer.__file__).parent
PUBSUB = "pubsub"
CONSOLE, BROWSING, LIVE = "console", "browsing", "live"
SERVER_SECONDS = 60.0
# The worker loads the engine when it starts: seconds on an idle machine, more on a busy one.
FUNCTION_SECONDS = 180.0

PubSubKind = Literal["auto", "google", "builtin"]


@dataclass(frozen=True)
class Receiver:
    """Who is told of a job's end by the function `webhook`, and the secret that the call is signed with."""

    url: str
    secret: str = field(repr=False)

    def environment(self) -> Mapping[str, str]:
        return {"DEFACER_WEBHOOK_URL": self.url, "DEFACER_WEBHOOK_SECRET": self.secret}


@dataclass(frozen=True)
class Options:
    """How to run it. `functions` is the folder with NAME/main.py of each; `variables` go to each of them.

    With `chaos`, what the functions send and get goes through proxies that do harm (chaos/README.md).
    The function `webhook` runs only with a `receiver`, the console and the live page only if asked for.
    `ports` are those of services that were chosen by name (see ports.py). The others listen on free ports, or with
    `default_ports` on the default ports that are free.
    """

    state: Path = DEFAULT_STATE
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


class Emulator:
    """Runs while the block runs. All its processes have ended when the block has, even if this one is killed.

    Raises UsageError if one runs in the same folder already, EmulatorError if a part does not start.
    `state` is there inside the block: ports, addresses and processes. `notices` name default ports that are in use.
    """

    state: EmulatorState
    notices: tuple[str, ...] = ()

    def __init__(self, options: Options = Options()):
        self.options = options
        self.folder = StateFolder(options.state.resolve())
        functions = (*FUNCTIONS, WEBHOOK) if options.receiver else FUNCTIONS
        self.resources = Resources(PROJECT, functions)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if not 1 <= self.options.workers <= MAX_OUTSTANDING:
            raise UsageError(f"{self.options.workers} workers: expected 1 to {MAX_OUTSTANDING}.")
        if self.options.receiver:
            try:
                Settings.from_environment(
                    {**self.resources.environment(), **self.options.receiver.environment()}
                )
            except SettingsError as error:
                raise UsageError(f"The webhook can't be used: {error}.") from None
        with ExitStack() as stack:
            stack.enter_context(self.folder.taken())
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
        """What a program of yours needs in its environment to work with this emulator."""
        return self.state.environment()

    def storage_client(self) -> cloud_storage.Client:
        return storage.client(PROJECT, self.state.storage_url)

    def check(self) -> None:
        """Raise EmulatorError if a part of the emulator has ended by itself, with the end of its log."""
        self._processes.check()

    def log_files(self) -> tuple[tuple[str, Path], ...]:
        """The name and the log of each process worth following: Pub/Sub emulators tell of their insides only."""
        return tuple(
            (name, self.folder.log(name))
            for name in self._processes.names()
            if name not in {PUBSUB, BROWSING}
        )

    def _start(self, stack: ExitStack) -> None:
        run = uuid.uuid4().hex
        ports, notices = choose_ports(self.options.ports, use_defaults=self.options.default_ports)
        self.notices = tuple(notices)
        inner_ports = free_ports(len(self.resources.functions) + chaos.PORTS, ports.values())
        function_ports, chaos_ports = inner_ports[: -chaos.PORTS], inner_ports[-chaos.PORTS :]
        pubsub_host = f"{HOST}:{ports['pubsub']}"
        kind, pubsub = self._pubsub(ports["pubsub"])
        self.state = EmulatorState(
            run=run,
            started_at=datetime.now(UTC),
            project=PROJECT,
            buckets=self.resources.buckets,
            pubsub=kind,
            storage_url=storage.url(ports["storage"]),
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
        stack.callback(self.folder.forget)
        self._processes = stack.enter_context(Processes(self.folder, run))
        self._record(ready=False)

        self._run(pubsub, seconds=SERVER_SECONDS)
        messaging.create_topics(pubsub_host, self.resources)
        files = self.folder.path / "storage"
        environment = inherited_environment()
        server = storage.program(self.resources, ports["storage"], files, pubsub_host, environment)
        functions = [
            self._function(function, port)
            for function, port in zip(self.resources.functions, function_ports, strict=True)
        ]
        if self._chaos:
            functions.append(self._chaos.program(self.folder.path / "chaos.json", environment))
        if self.options.console:
            functions += self._console(ports["console"], ports["browser-storage"])
        if self.options.live:
            functions.append(self._live(ports["live"]))
        self._run(server, *functions, seconds=FUNCTION_SECONDS)
        storage.create_buckets(self.storage_client(), self.resources.buckets)
        instances = {function.name: self._instances(function) for function in self.resources.functions}
        urls = self._chaos.push_urls if self._chaos else self.state.function_urls
        messaging.create_subscriptions(pubsub_host, self.resources, urls, instances)
        self._record(ready=True)

    def _run(self, *programs: Program, seconds: float) -> None:
        for program in programs:
            self._processes.start(program)
        self._record(ready=False)
        self._processes.wait_until_ready(programs, seconds)

    def _record(self, *, ready: bool) -> None:
        self.state = self.state.model_copy(update={"processes": self._processes.records(), "ready": ready})
        self.folder.write(self.state)

    def _pubsub(self, port: int) -> tuple[str, Program]:
        google = None if self.options.pubsub == "builtin" else find_google_emulator()
        if self.options.pubsub == "google" and google is None:
            raise UsageError(
                f"Google's Pub/Sub emulator is not installed here. To install it: {INSTALL_HINT}. "
                "Or take --pubsub builtin."
            )
        command = google or (sys.executable, "-m", "defacer_emulator.pubsub")
        return (
            "google" if google else "builtin",
            Program(
                PUBSUB,
                (*command, f"--host={HOST}", f"--port={port}"),
                inherited_environment(),
                lambda: listens(port),
            ),
        )

    def _function(self, function: Function, port: int) -> Program:
        source = self.options.functions / function.source
        if not source.is_file():
            raise EmulatorError(f"The function {function.name} is not there: {source} is missing.")
        command = (
            *(sys.executable, "-m", "functions_framework", f"--target={function.name}", f"--source={source}"),
            *("--signature-type=cloudevent", f"--host={HOST}", f"--port={port}"),
        )
        own = {
            "WORKERS": str(self._instances(function)),
            "THREADS": str(function.concurrency),
            # gunicorn puts a socket there; without this all four fight for one in the user's home.
            "XDG_RUNTIME_DIR": str(self._empty_folder("run", function.name)),
            # What a killed worker leaves is gone with the next start.
            "TMPDIR": str(self._empty_folder("tmp", function.name)),
        }
        if function == WEBHOOK and self.options.receiver:
            own |= self.options.receiver.environment()
        if self._instances(function) > 1:  # each would take all cores: 28 s instead of 21 s for 2 on 2 cores
            own["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self._instances(function)))
        led = self._chaos.for_functions if self._chaos else {}
        environment = {
            **inherited_environment(), **self.environment, **led, **own, **dict(self.options.variables)
        }  # fmt: skip
        return Program(function.name, command, environment, lambda: answers_http(port))

    def _console(self, port: int, browsing_port: int) -> list[Program]:
        """The console, and what stands before storage for it and for browsers. It meets no chaos: people look at it."""
        environment = {**inherited_environment(), **dict(self.options.variables)}
        browsing = (
            sys.executable,
            "-m",
            "defacer_emulator.services.storage_browser_proxy",
            self.state.storage_url,
        )
        own = {
            **self.environment,
            "STORAGE_EMULATOR_HOST": f"http://{HOST}:{browsing_port}",
            "DEFACER_CONSOLE_ORIGIN": f"http://{HOST}:{port}",
            "TMPDIR": str(self._empty_folder("tmp", CONSOLE)),
        }
        return [
            Program(
                BROWSING, (*browsing, f"--port={browsing_port}"), environment, lambda: listens(browsing_port)
            ),
            Program(
                CONSOLE,
                (sys.executable, "-m", "defacer.web.console", f"--host={HOST}", f"--port={port}"),
                {**environment, **own},
                lambda: answers_http(port, "/health"),
            ),
        ]

    def _live(self, port: int) -> Program:
        """The live page. Unlike in a cloud it also reads cameras at addresses of this machine."""
        own = {
            **self.environment,
            "DEFACER_LIVE_ORIGIN": f"http://{HOST}:{port}",
            "DEFACER_LIVE_ALLOW_LOOPBACK": "true",
            "DEFACER_LIVE_PORTS": "",
            "TMPDIR": str(self._empty_folder("tmp", LIVE)),
        }
        return Program(
            LIVE,
            (sys.executable, "-m", "defacer.web.live", f"--host={HOST}", f"--port={port}"),
            {**inherited_environment(), **own, **dict(self.options.variables)},
            lambda: answers_http(port, "/health"),
        )

    def _instances(self, function: Function) -> int:
        return self.options.workers if function.name == "worker" else 1

    def _empty_folder(self, kind: str, function: str) -> Path:
        folder = self.folder.path / kind / function
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder
