"""The configuration of the proxies: their ports, and the servers behind them."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from defacer_emulator.chaos.journal import Journal
from defacer_emulator.chaos.plan import Occurrence, Plan
from defacer_emulator.chaos.subjects import CallClassifier, FaultSubject
from defacer_emulator.processes.state import EmulatorState, environment_mark
from defacer_emulator.processes.supervisor import HOST, Program, is_listening
from defacer_emulator.resources import Resources

PROCESS = "chaos"
PORTS = 3


class Setup(BaseModel):
    """The configuration, which the proxies' process reads from a file. Every function has `mark` in its environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Plan
    project: str
    mark: str
    storage_url: str
    pubsub_host: str
    function_urls: Mapping[str, str]
    storage_port: int
    pubsub_port: int
    push_port: int

    @classmethod
    def of(cls, plan: Plan, state: EmulatorState, ports: tuple[int, ...]) -> Self:
        """Return the setup for an emulator that is starting, with free ports."""
        storage_port, pubsub_port, push_port = ports
        return cls(
            plan=plan,
            project=state.project,
            mark=environment_mark(state.run),
            storage_url=state.storage_url,
            pubsub_host=state.pubsub_host,
            function_urls=state.function_urls,
            storage_port=storage_port,
            pubsub_port=pubsub_port,
            push_port=push_port,
        )

    @property
    def function_environment(self) -> Mapping[str, str]:
        """Return the variables that make a function use the proxies."""
        return {
            "STORAGE_EMULATOR_HOST": f"http://{HOST}:{self.storage_port}",
            "PUBSUB_EMULATOR_HOST": f"{HOST}:{self.pubsub_port}",
        }

    @property
    def push_urls(self) -> Mapping[str, str]:
        """Return the push endpoints for Pub/Sub, by the function's name."""
        return {name: f"http://{HOST}:{self.push_port}/{name}" for name in self.function_urls}

    def program(self, file: Path, environment: Mapping[str, str]) -> Program:
        """Write this setup to `file`, and return the program of the proxies, which reads it."""
        file.write_text(self.model_dump_json(), encoding="utf-8")
        command = (sys.executable, "-m", "defacer_emulator.chaos", str(file))
        ports = (self.storage_port, self.pubsub_port, self.push_port)
        return Program(PROCESS, command, environment, lambda: all(map(is_listening, ports)))


@dataclass(frozen=True)
class FaultChoice:
    """An occurrence of a subject, and the fault to inject into it, or None. `share` is random, from 0 to below 1."""

    subject: FaultSubject
    occurrence: Occurrence
    fault: str | None
    share: float
    journal: Journal

    def log(self, how: str = "") -> None:
        """Log that the fault was injected."""
        self.journal.log_fault(str(self.fault), self.occurrence, self.subject, how)


class Run:
    """The state that the proxies of one run share. `write_line` writes one line of the journal."""

    def __init__(self, setup: Setup, write_line: Callable[[str], None]):
        self.setup, self.plan = setup, setup.plan
        self.resources = Resources(setup.project)
        self.classifier = CallClassifier(self.resources)
        self.journal = Journal(setup.plan, write_line)
        self._occurrences: Counter[str] = Counter()

    def choose_fault(self, subject: FaultSubject, faults: Iterable[str]) -> FaultChoice:
        """Count an occurrence of the subject, and choose the first of these faults that the plan injects into it."""
        self._occurrences[subject.name] += 1
        occurrence = Occurrence(subject.name, self._occurrences[subject.name])
        fault = self.plan.first_fault(faults, occurrence)
        share = self.plan.random_share(fault, occurrence, "how") if fault else 0.0
        return FaultChoice(subject, occurrence, fault, share, self.journal)
