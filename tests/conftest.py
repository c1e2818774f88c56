"""Fixtures: servers for the session, buckets and topics for each test, and the functions behind HTTP."""

import fcntl
import gc
import itertools
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage

from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from tests.cloud import PROJECT, Buckets, Topics
from tests.inbox import Inbox, open_inbox
from tests.protocol.transitions import page_rows
from tests.protocol.watched_storage import record_transitions
from tests.proxy import Proxy, open_proxy
from tests.servers import ROOT, pubsub_server, storage_server

NUMBERS = itertools.count()
# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Threads of PyTorch that wait for others let the other workers compute.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Without it, each request to storage reads the whole environment twice in search of a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
App = Callable[[str], FlaskClient]
STARTED = time.monotonic()
# By processor seconds, from the longest. Those that mostly wait are early, so that others run at the same time.
LONG_FILES = (
    "infra/test_rehearsal.py",
    "inputs/test_rows.py",
    "inputs/test_pipeline.py",
    "pipeline/test_privacy.py",
    "live/test_stream.py",
    "emulator/test_processes.py",
    "live/test_service.py",
    "contract/test_pubsub_push.py",
    "functions/test_rerender.py",
    "console/test_browser.py",
    "functions/test_rerender_faults.py",
    "pipeline/test_whole_path.py",
    "commands/test_run.py",
    "engine/test_release_gate.py",
    "emulator/test_cli.py",
    "engine/test_engine.py",
    "functions/test_erase.py",
    "live/test_browser.py",
    "engine/test_detector.py",
    "engine/test_backends.py",
    "engine/test_brief_appearances.py",
    "emulator/test_reload.py",
    "engine/test_swapped_people.py",
    "protocol/test_model.py",
    "console/test_browser_forms.py",
    "engine/test_mask_extension.py",
    "engine/test_picture_end.py",
    "functions/test_hostile_messages.py",
    "engine/test_streaming.py",
    "console/test_forms.py",
    "functions/test_merge_faults.py",
)
SKIPPED_BY_BUDGET = "skipped: the time budget is used up"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--budget", type=float, metavar="SECONDS", help="start no test after this time; list the rest"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files: one that began last would leave the other worker without work."""
    rank = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(ROOT / "tests").as_posix(), len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """After a fresh clone, let one worker compile the tests and packages. The others read its bytecode."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    folder = session.config.cache.mkdir("bytecode")
    with (folder / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not (folder / "written").exists():
            result = yield
            (folder / "written").touch()
            return result
    return (yield)


def pytest_collection_finish() -> None:
    """Let the garbage collector skip the modules and the thousands of tests, which stay until the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run a test with the marker `serial` while no other worker runs a test."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    locks = item.config.cache.mkdir("serial")
    how = fcntl.LOCK_EX if item.get_closest_marker("serial") else fcntl.LOCK_SH
    with (locks / "gate").open("w") as gate, (locks / "room").open("w") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)  # a serial test that waits for the room keeps the others out
        fcntl.flock(room, how)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - STARTED > budget:
        pytest.skip(SKIPPED_BY_BUDGET)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the time budget, and the number of skipped cases of each test."""
    budget = config.getoption("--budget")
    if budget is None:
        return
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = Counter(r.nodeid.partition("[")[0] for r in skipped if SKIPPED_BY_BUDGET in str(r.longrepr))
    terminalreporter.section(f"time budget: {budget:.0f} s, left out: {left_out.total()} tests")
    for test, count in sorted(left_out.items()):
        terminalreporter.write_line(f"{count:4} {test}")


@pytest.fixture(scope="session")
def storage_address() -> Iterator[str]:
    with storage_server() as address:
        yield address


@pytest.fixture(scope="session")
def pubsub_address() -> Iterator[str]:
    with pubsub_server() as address:
        yield address


@pytest.fixture(scope="session")
def inbox() -> Iterator[Inbox]:
    with open_inbox() as opened:
        yield opened


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set the settings of this test. Call the fixture to change more of them: `environment(lease_seconds=1)`."""

    def change(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"DEFACER_{name.upper()}", str(value))
        _forget_clients()

    _forget_clients()
    change(
        project=PROJECT, intake_bucket="no-intake", work_bucket="no-work", output_bucket="no-output",
        retry_seconds=20, segment_seconds=1,
    )  # fmt: skip
    yield change
    _forget_clients()


@pytest.fixture
def buckets(
    storage_address: str, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Buckets]:
    """Create this test's buckets, and name them in the settings."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_address)
    client = storage.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=storage_address),
    )
    unique = f"{next(NUMBERS)}-{uuid.uuid4().hex[:8]}"
    made = Buckets(client, f"intake-{unique}", f"work-{unique}", f"output-{unique}")
    for name in (made.intake, made.work, made.output):
        client.create_bucket(name)
    environment(intake_bucket=made.intake, work_bucket=made.work, output_bucket=made.output)
    yield made
    client.close()


@pytest.fixture
def proxy(buckets: Buckets, storage_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Route this test's storage calls through a proxy that can let them fail."""
    with open_proxy(storage_address, Proxy) as opened:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", opened.address)
        _forget_clients()
        yield opened


@pytest.fixture
def topics(
    pubsub_address: str, inbox: Inbox, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Topics]:
    """Create this test's topics, each with a push subscription to the inbox."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    unique = f"{next(NUMBERS)}-{uuid.uuid4().hex[:8]}"
    publisher = pubsub_v1.PublisherClient()
    names = (f"{kind}-{unique}" for kind in ("uploads", "segments", "segments-done", "job-events"))
    made = Topics(inbox, publisher, *names)
    with pubsub_v1.SubscriberClient() as subscriber:
        for topic in (made.uploads, made.segments, made.segments_done, made.job_events):
            path = publisher.topic_path(PROJECT, topic)
            publisher.create_topic(request={"name": path}, timeout=30)
            subscription = {
                "name": subscriber.subscription_path(PROJECT, topic),
                "topic": path,
                "push_config": {"push_endpoint": f"{inbox.address}/{topic}"},
                "ack_deadline_seconds": 60,
            }
            subscriber.create_subscription(request=subscription, timeout=30)
    environment(
        uploads_topic=made.uploads,
        segments_topic=made.segments,
        segments_done_topic=made.segments_done,
        job_events_topic=made.job_events,
    )
    yield made
    publisher.stop()


@pytest.fixture(autouse=True)
def transitions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that a test that pipeline/README.md names for a transition makes it."""
    named = {row.transition for row in page_rows() if row.names_test(request.path, request.node.name)}
    if not named:
        yield
        return
    with record_transitions(request.getfixturevalue("buckets")) as made:
        yield
    assert named <= made, (
        f"pipeline/README.md names it for {sorted(named - made)}, and it made {sorted(made)}"
    )


@pytest.fixture(scope="session")
def app() -> App:
    """Return a function's HTTP client by its name, as functions-framework serves it."""
    made: dict[str, FlaskClient] = {}

    def client(name: str) -> FlaskClient:
        if name not in made:
            source = ROOT / "functions" / "defacer" / name / "main.py"
            made[name] = functions_framework.create_app(name, str(source)).test_client()
        return made[name]

    return client


@pytest.fixture(scope="session")
def golden() -> Path:
    return ROOT / "tests" / "contract" / "golden"


def _forget_clients() -> None:
    """Clear the functions' cached settings and clients for the next test."""
    settings.cache_clear()
    objects.client.cache_clear()
    if pubsub.publisher.cache_info().currsize:
        pubsub.publisher().stop()
    pubsub.publisher.cache_clear()
