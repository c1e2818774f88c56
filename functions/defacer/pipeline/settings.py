"""The environment, read once, typed, checked at start. Nothing else in `functions` reads `os.environ`."""

import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

PREFIX = "DEFACER_"
MEBIBYTE = 1024 * 1024
SECRETS = {"webhook_secret"}
HOST_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class SettingsError(Exception):
    """An environment variable is missing or has a value that can't be used; the message names it."""


class Settings(BaseModel):
    """One field for each variable: `DEFACER_` and the field's name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    project: str = Field(min_length=3)
    intake_bucket: str = Field(min_length=3)
    work_bucket: str = Field(min_length=3)
    output_bucket: str = Field(min_length=3)
    uploads_topic: str = "uploads"
    segments_topic: str = "segments"
    segments_done_topic: str = "segments-done"
    job_events_topic: str = "job-events"
    segment_seconds: float = Field(default=10.0, ge=1, le=120)
    # A lease outlives the longest pause between two renewals by far, and a dead holder is replaced soon.
    lease_seconds: float = Field(default=90.0, ge=1, le=600)
    # Pub/Sub waits 600 s at most for an answer: work must have stopped by then
    # (https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions, ackDeadlineSeconds).
    deadline_seconds: float = Field(default=540.0, ge=1, le=590)
    # How long one call to storage or messaging is repeated before the message goes back to the queue.
    retry_seconds: float = Field(default=30.0, gt=0, le=120)
    max_segment_attempts: int = Field(default=5, ge=1, le=100)
    # A segment whose workers ran out of time so often is split in two; a job whose merges did fails.
    late_attempts: int = Field(default=3, ge=1, le=100)
    # What a worker gets through in a second, in either step: a third of what two cores without a GPU were measured to
    # do (tests/benchmarks/README.md). Segments of large pictures are planned shorter by it.
    worker_megapixels_per_second: float = Field(default=20.0, gt=0, le=100_000)
    # What merge joins and checks in a second, of the source's bytes: 7 s for 1 GB were measured
    # (tests/benchmarks/README.md), 30 s are for three passes over a network of 100 MB/s (infra/CAPACITY.md).
    merge_megabytes_per_second: float = Field(default=27.0, gt=0, le=100_000)
    # What one job may be. README.md has the table; passing one fails the job with a sentence.
    max_video_seconds: float = Field(default=12 * 3600, ge=1, le=24 * 3600)
    max_video_bytes: int = Field(default=500 * 10**9, ge=1)
    max_frame_pixels: int = Field(default=8192 * 4608, ge=1, le=8192 * 8192)  # the engine takes no more
    max_face_looks: int = Field(default=3_000_000, ge=1)  # merge takes 0.4 KB for each
    max_policy_bytes: int = Field(default=64 * 1024, ge=2)
    max_picture_bytes: int = Field(default=30 * MEBIBYTE, ge=1)
    max_picture_pixels: int = Field(default=50_000_000, ge=1, le=100_000_000)  # the engine takes no more
    max_target_pictures: int = Field(default=200, ge=1, le=10_000)
    # All of a job's target pictures are in memory together.
    max_targets_bytes: int = Field(default=300 * MEBIBYTE, ge=1)
    # Whether a worker loads its models before its first request, and refuses to start where PyTorch finds no GPU.
    preload_models: bool = False
    require_gpu: bool = False
    # Who is told of a job's end (functions/defacer/webhook), and what the call is signed with.
    webhook_url: str | None = None
    webhook_secret: SecretStr | None = Field(default=None, min_length=32)
    # The console (web console): the address that it is opened at, if it is one only; the account that signs its
    # addresses of media; the audience of Identity-Aware Proxy's tokens, where that stands before it.
    console_origin: str | None = None
    console_signer: str | None = None
    console_iap_audience: str | None = None
    # The live page (functions/defacer/web/live): the address that it is opened at, if it is one only; how many
    # streams an
    # instance does and how many watch each; how late a frame is shown at least; how many frames a second are taken.
    live_origin: str | None = None
    live_streams: int = Field(default=2, ge=1, le=100)
    live_viewers: int = Field(default=8, ge=1, le=1000)
    live_delay_seconds: float = Field(default=0.5, ge=0.3, le=1)
    live_frames_per_second: float = Field(default=20.0, ge=5, le=60)
    # Which addresses of cameras it reads: schemes, hosts with what is below them (none: any public one), ports (none:
    # any), each with commas between. Only for trying it out: this machine, too.
    live_schemes: str = "https,http,rtsp"
    live_hosts: str = ""
    live_ports: str = "80,443,554,8000,8080,8081,8443,8554,8888"
    live_allow_loopback: bool = False
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator(*SECRETS, mode="before")
    @classmethod
    def _strip_secret(cls, secret: object) -> object:
        """Drop trailing white space: Secret Manager keeps the line break of a command that filled the secret."""
        return secret.rstrip() if isinstance(secret, str) else secret

    @field_validator("webhook_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        """What goes there must be read by nobody on the way, and a URL is no place for a password: consoles show it."""
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("expected https://HOST/PATH; http only to this machine")
        if not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise ValueError("expected a host, and neither a password nor a fragment")
        return url

    @field_validator("console_origin", "live_origin")
    @classmethod
    def _is_origin(cls, origin: str | None) -> str | None:
        parts = urlsplit(origin or "")
        if origin is not None and (
            parts.scheme not in {"http", "https"} or f"{parts.scheme}://{parts.netloc}" != origin
        ):
            raise ValueError("expected https://HOST, or http://HOST:PORT, and no path")
        return origin

    @field_validator("live_schemes")
    @classmethod
    def _are_schemes(cls, schemes: str) -> str:
        if not set(schemes.split(",")) <= {"https", "http", "rtsp"}:
            raise ValueError("expected some of https,http,rtsp")
        return schemes

    @field_validator("live_hosts")
    @classmethod
    def _are_hosts(cls, hosts: str) -> str:
        """A misspelt list must not be one that allows any host."""
        if hosts and not all(HOST_NAME.fullmatch(host) for host in hosts.split(",")):
            raise ValueError("expected names of hosts, small letters, with commas between")
        return hosts

    @field_validator("live_ports")
    @classmethod
    def _are_ports(cls, ports: str) -> str:
        if ports and not all(port.isdecimal() and 0 < int(port) < 65536 for port in ports.split(",")):
            raise ValueError("expected numbers from 1 to 65535 with commas between")
        return ports

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Settings from variables named `DEFACER_*`. Raises SettingsError that names each bad variable."""
        known = {PREFIX + name.upper(): name for name in cls.model_fields}
        values = {name: environment[variable] for variable, name in known.items() if variable in environment}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = []
            for item in error.errors():
                name = str(item["loc"][0])
                variable = PREFIX + name.upper()
                # A secret must not reach a log.
                value = repr(environment.get(variable)) if name not in SECRETS else "(not shown)"
                problems.append(f"{variable}={value}: {item['msg']}")
            raise SettingsError("bad environment: " + "; ".join(problems)) from error


@cache
def settings() -> Settings:
    """This process's settings: the environment is read at the first call, and never again."""
    return Settings.from_environment(os.environ)
