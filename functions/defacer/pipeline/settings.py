"""The settings of all services: environment variables that are read once and validated when a process starts.

Each field is the variable `DEFACER_` plus its name in capitals. One class lists the settings of one service, and
`Settings` has them all. No other module of the pipeline or a function reads `os.environ`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)

from defacer.pipeline import topology

PREFIX = "DEFACER_"
MEBIBYTE = 1024 * 1024
SECRETS = {"webhook_secret"}
HOST_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
IpNetwork = IPv4Network | IPv6Network
Member = Annotated[
    str,
    StringConstraints(pattern=r"^((user|serviceAccount):[^@\s]+@|domain:)[^@\s]+$"),
    AfterValidator(str.lower),
]
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
# The networks of homes and companies (RFC 1918, RFC 4193). Other special networks lead to this machine or to metadata.
PRIVATE_NETWORKS = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
ALL_PRIVATE_HOSTS = ",".join(map(str, PRIVATE_NETWORKS))


def is_subnet(network: IpNetwork, other: IpNetwork) -> bool:
    """Return whether a network is a part of another one. Python compares only networks of one version."""
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)


class SettingsError(Exception):
    """An environment variable is missing or has a value that can't be used. The message names the variable."""


class SettingsGroup(BaseModel):
    """The settings of one service. The text below each field is its row in SETTINGS.md (`make reference`)."""


class CloudSettings(SettingsGroup):
    """The resources that all services share, and how they call them."""

    project: str = Field(min_length=3)
    """The Google Cloud project of the topics."""
    intake_bucket: str = Field(min_length=3)
    """The bucket for videos, target pictures and policies."""
    work_bucket: str = Field(min_length=3)
    """The bucket for the state of jobs."""
    output_bucket: str = Field(min_length=3)
    """The bucket for results and reports."""
    uploads_topic: str = topology.UPLOADS
    """The topic for requeued notifications of uploads."""
    segments_topic: str = topology.SEGMENTS
    """The topic for the workers' tasks."""
    segments_done_topic: str = topology.SEGMENTS_DONE
    """The topic for finished steps of segments."""
    job_events_topic: str = topology.JOB_EVENTS
    """The topic for events."""
    retry_seconds: float = Field(default=30.0, gt=0, le=120)
    """How long a call to Cloud Storage or Pub/Sub is retried before the message is redelivered."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """The lowest level that is logged."""


class LeaseSettings(SettingsGroup):
    """The limits of one delivery, in worker, merge and dead_letter."""

    # Much longer than the longest pause between two renewals, and short enough to replace a dead holder soon.
    lease_seconds: float = Field(default=90.0, ge=1, le=600)
    """How long a lease lasts without a renewal."""
    # Work must have stopped before Pub/Sub's largest acknowledgement deadline, 600 s
    # (https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions, ackDeadlineSeconds).
    deadline_seconds: float = Field(default=540.0, ge=1, le=590)
    """When work stops. Pub/Sub's largest acknowledgement deadline is 600 s."""
    max_segment_attempts: int = Field(default=5, ge=1, le=100)
    """Attempts at a step of a segment before its job fails."""
    max_timeouts: int = Field(default=3, ge=1, le=100)
    """Timeouts before a segment is split in two, and timeouts of merge before its job fails."""


class IngestSettings(SettingsGroup):
    """Segments, and the limits of a job. A job that exceeds a limit fails with an error that names it."""

    segment_seconds: float = Field(default=10.0, ge=1, le=120)
    """The length of a segment, if key frames allow it."""
    max_video_seconds: float = Field(default=12 * 3600, ge=1, le=24 * 3600)
    """The length of a video, as its header states it."""
    max_video_bytes: int = Field(default=500 * 10**9, ge=1)
    """The size of a video."""
    max_frame_pixels: int = Field(default=8192 * 4608, ge=1, le=8192 * 8192)  # the engine's own limit
    """The pixels of a frame. Each side is also limited to 16,384 pixels."""
    # The work of 5.6 hours of 3840x2160 at 60 frames per second: about 7 USD on CPU workers (infra/CAPACITY.md).
    max_video_megapixels: int = Field(default=10_000_000, ge=1)
    """The pixels of all frames of a video, in millions."""
    max_decode_times: float = Field(default=10.0, ge=2)
    """How often a frame is decoded in one step, in the mean of the video. A segment decodes everything since
    the key frame before it, so a video with few key frames costs more."""
    # Twice the CPU workers of a deployment (infra/functions.tf sets it), so that an archive of one channel keeps all
    # workers busy and adds a short queue.
    channel_segments: int = Field(default=20, ge=1, le=100_000)
    """The number of segments that a channel has in the queue. A job has at most half of them there, and the next job of
    the channel starts when the queue has room."""
    max_channel_jobs: int = Field(default=1000, ge=1, le=100_000)
    """The number of uploads of a channel that are processed or wait for it."""
    # 100 hours: about 23 USD of 1080p on CPU workers (infra/CAPACITY.md).
    max_channel_minutes: float = Field(default=6000.0, gt=0, le=10_000_000)
    """The minutes of video of a channel that are processed in a day, by the time of their upload in UTC."""
    max_policy_bytes: int = Field(default=64 * 1024, ge=2)
    """The size of a policy."""
    max_picture_bytes: int = Field(default=30 * MEBIBYTE, ge=1)
    """The size of a target picture or replacement picture."""
    max_picture_pixels: int = Field(default=50_000_000, ge=1, le=100_000_000)  # the engine's own limit
    """The pixels of a target picture or replacement picture."""
    max_target_pictures: int = Field(default=200, ge=1, le=10_000)
    """The number of target pictures of a channel."""
    max_targets_bytes: int = Field(default=300 * MEBIBYTE, ge=1)
    """The size of all target pictures of a channel together, which are in memory at the same time."""

    @property
    def job_segments(self) -> int:
        """The number of a job's segments in the queue. Two long videos of a channel run beside each other."""
        return max(1, self.channel_segments // 2)


class WorkerSettings(SettingsGroup):
    """The worker's speed and start."""

    # In each step: a third of what two cores without a GPU were measured to process (tests/benchmarks/README.md).
    worker_megapixels_per_second: float = Field(default=20.0, gt=0, le=100_000)
    """Millions of pixels that a worker processes per second. Segments with large frames are planned shorter."""
    preload_models: bool = False
    """Whether the worker and the live page load their models before the first request."""
    require_gpu: bool = False
    """Whether the worker refuses to start if PyTorch finds no GPU. Needs `DEFACER_PRELOAD_MODELS`."""


class MergeSettings(SettingsGroup):
    """The speed and memory of merge."""

    # Bytes of the source that merge joins and checks. 1 GB was measured to take 7 s (tests/benchmarks/README.md). This
    # value leaves 30 s for three passes over a network of 100 MB/s (infra/CAPACITY.md).
    merge_megabytes_per_second: float = Field(default=27.0, gt=0, le=100_000)
    """Millions of bytes of the source that merge joins per second. Ingest refuses a video that takes longer than the
    deadline."""
    max_detections: int = Field(default=3_000_000, ge=1)
    """The number of detections in a video. Linking takes 0.4 KB of memory for each."""


class WebhookSettings(SettingsGroup):
    """The receiver of events, and the key that signs its calls."""

    webhook_url: str | None = None
    """The receiver of events. `https`, or `http` for this machine."""
    webhook_secret: SecretStr | None = Field(default=None, min_length=32)
    """The key that signs requests to the receiver. Trailing white space is ignored."""

    @field_validator(*SECRETS, mode="before")
    @classmethod
    def _strip_secret(cls, secret: object) -> object:
        """Drop trailing white space: Secret Manager keeps the line break of a command that stored the secret."""
        return secret.rstrip() if isinstance(secret, str) else secret

    @field_validator("webhook_url")
    @classmethod
    def _require_private_url(cls, url: str | None) -> str | None:
        """Require encryption outside of this machine, and no password, because Cloud Run's console shows the URL."""
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("expected https://HOST/PATH; http is allowed only for this machine")
        if not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise ValueError("expected a host, and neither a password nor a fragment")
        return url


class IdentitySettings(SettingsGroup):
    """The users of the console and the live page, and the channels that each of them can open.

    A member is `user:EMAIL`, `serviceAccount:EMAIL` or `domain:DOMAIN`.
    """

    iap_audience: str | None = Field(default=None, pattern=r"^/projects/[0-9]+/[!-~]+$")
    """The audience of Identity-Aware Proxy's tokens. Requests without such a token are refused. Without it, the pages
    start only beside the emulator, and each caller can open each channel."""
    channel_owners: Json[dict[str, frozenset[Member]]] = {}
    """The members that can open each channel, as JSON: `{"CHANNEL": ["MEMBER", ...], ...}`."""
    administrators: Json[frozenset[Member]] = frozenset()
    """The members that can open all channels, as JSON: `["MEMBER", ...]`."""


class ConsoleSettings(SettingsGroup):
    """The web console: its origins, and the account that signs its URLs."""

    console_origins: str = "http://127.0.0.1:8080,http://localhost:8080"
    """The origins of the console, comma-separated: where browsers open it. Changes that a page of
    another origin sends are refused. The first one is named in the refusal."""
    console_signer: str | None = None
    """The account that signs the console's URLs of media. Without it, a random key signs them, which only the emulator
    accepts."""
    console_sample: str | None = None
    """The Python module that writes a sample video and a target picture. Without it, the console offers no sample."""
    live_link: str | None = None
    """The address of the live page, for a link in the console."""


class LiveSettings(SettingsGroup):
    """The live page: its origins, and the limits of its streams and their sources."""

    live_origins: str = "http://127.0.0.1:8090,http://localhost:8090"
    """The origins of the live page, as for the console. Streams of other origins are refused too."""
    live_channels: bool = True
    """Whether a stream can keep the targets of a channel and use its policy."""
    live_streams: int = Field(default=2, ge=1, le=100)
    """Streams per instance."""
    live_viewers: int = Field(default=8, ge=1, le=1000)
    """Viewers per stream."""
    live_delay_seconds: float = Field(default=0.5, ge=0.3, le=1)
    """The smallest delay of a frame, unless the page sets one."""
    live_frames_per_second: float = Field(default=20.0, ge=5, le=60)
    """Frames per second that are processed."""
    live_schemes: str = "https,http,rtsp"
    """The allowed schemes of a camera's URL, comma-separated."""
    live_hosts: str = ""
    """The allowed hosts of cameras, with their subdomains, comma-separated. Without it, all public hosts are
    allowed."""
    live_ports: str = "80,443,554,8000,8080,8081,8443,8554,8888"
    """The allowed ports of cameras, comma-separated. If it is empty, all ports are allowed."""
    live_allow_loopback: bool = False
    """Whether cameras can be on this machine, for local tests."""
    live_channel_list: bool = False
    """Whether the page lists the channels. Otherwise a user enters a channel's name, and learns no other name."""
    live_private_hosts: str = ""
    """The private networks of cameras, comma-separated, such as `192.168.1.0/24`. Without it, only public
    hosts are allowed."""
    console_link: str | None = None
    """The address of the console, for a link on the live page."""

    @field_validator("live_schemes")
    @classmethod
    def _require_schemes(cls, schemes: str) -> str:
        if not set(schemes.split(",")) <= {"https", "http", "rtsp"}:
            raise ValueError("expected some of https,http,rtsp")
        return schemes

    @field_validator("live_hosts")
    @classmethod
    def _require_hosts(cls, hosts: str) -> str:
        """Refuse a misspelt list, which would allow other hosts."""
        if hosts and not all(HOST_NAME.fullmatch(host) for host in hosts.split(",")):
            raise ValueError("expected comma-separated names of hosts in lowercase")
        return hosts

    @field_validator("live_ports")
    @classmethod
    def _require_ports(cls, ports: str) -> str:
        if ports and not all(port.isdecimal() and 0 < int(port) < 65536 for port in ports.split(",")):
            raise ValueError("expected comma-separated numbers from 1 to 65535")
        return ports

    @field_validator("live_private_hosts")
    @classmethod
    def _require_private_networks(cls, networks: str) -> str:
        """Refuse other networks: link-local addresses, for example, lead to the metadata of a cloud machine."""
        for text in filter(None, networks.split(",")):
            network = ip_network(text)  # its ValueError names the fault
            if not any(is_subnet(network, private) for private in PRIVATE_NETWORKS):
                raise ValueError(f"expected networks in {ALL_PRIVATE_HOSTS}, such as 192.168.1.0/24")
        return networks


class Settings(
    CloudSettings,
    LeaseSettings,
    IngestSettings,
    WorkerSettings,
    MergeSettings,
    WebhookSettings,
    IdentitySettings,
    ConsoleSettings,
    LiveSettings,
):
    """All settings of all services. Each process validates all of them, so a typo is found wherever it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("console_origins", "live_origins", "console_link", "live_link")
    @classmethod
    def _require_origins(cls, origins: str | None) -> str | None:
        """Refuse a misspelt origin, which would allow no page or another one."""
        for origin in () if origins is None else origins.split(","):
            parts = urlsplit(origin)
            if parts.scheme not in {"http", "https"} or f"{parts.scheme}://{parts.netloc}" != origin:
                raise ValueError("expected https://HOST or http://HOST:PORT, without a path")
        return origins

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return the settings from the variables `DEFACER_*`. Raise SettingsError that names each bad variable."""
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
            raise SettingsError("Bad environment: " + "; ".join(problems)) from error


@cache
def settings() -> Settings:
    """Return this process's settings. The environment is read at the first call only."""
    return Settings.from_environment(os.environ)


def named_project(*variables: str) -> str | None:
    """Return the project that the first set one of these variables names, or None."""
    names = variables or (f"{PREFIX}PROJECT", "GOOGLE_CLOUD_PROJECT")
    return next(filter(None, map(os.environ.get, names)), None)


def emulator_hosts() -> list[str]:
    """Return the variables that make Google's clients use an emulator."""
    return [name for name in ("STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST") if os.environ.get(name)]


@contextmanager
def use_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Add these variables to the environment of this process within the block. Not for several threads."""
    before = dict(os.environ)
    os.environ.update(variables)
    settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()
