"""The buckets, functions and environment variables of one emulator."""

from collections.abc import Mapping
from dataclasses import dataclass

from defacer.pipeline.topology import (
    FUNCTIONS,
    JOB_EVENTS,
    SEGMENTS,
    SEGMENTS_DONE,
    UPLOADS,
    Function,
)


@dataclass(frozen=True)
class Resources:
    """The resources of one project, named as Terraform names them (`infra/names.tf`)."""

    project: str
    functions: tuple[Function, ...] = FUNCTIONS

    @property
    def intake(self) -> str:
        return f"{self.project}-intake"

    @property
    def work(self) -> str:
        return f"{self.project}-work"

    @property
    def output(self) -> str:
        return f"{self.project}-output"

    @property
    def buckets(self) -> tuple[str, str, str]:
        return self.intake, self.work, self.output

    def environment(self) -> Mapping[str, str]:
        """Return the variables that every function reads (`defacer/pipeline/settings.py`)."""
        return {
            "DEFACER_PROJECT": self.project,
            "DEFACER_INTAKE_BUCKET": self.intake,
            "DEFACER_WORK_BUCKET": self.work,
            "DEFACER_OUTPUT_BUCKET": self.output,
            "DEFACER_UPLOADS_TOPIC": UPLOADS,
            "DEFACER_SEGMENTS_TOPIC": SEGMENTS,
            "DEFACER_SEGMENTS_DONE_TOPIC": SEGMENTS_DONE,
            "DEFACER_JOB_EVENTS_TOPIC": JOB_EVENTS,
        }
