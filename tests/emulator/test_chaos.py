"""`up --chaos` with stand-in functions: each planned fault is injected, and the function still succeeds."""

import json
from collections.abc import Iterator

import pytest
from google.pubsub_v1.types import PubsubMessage

from defacer.pipeline.topology import FUNCTIONS, SEGMENTS
from defacer_emulator.chaos.plan import Occurrence, Plan
from defacer_emulator.chaos.setup import Setup
from defacer_emulator.chaos.subjects import hash_name, job_name_of
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.services import messaging
from tests.emulator.conftest import STAND_IN
from tests.emulator.up import Up, find_leftovers, wait_until_gone, write_function
from tests.servers import wait_until
from tests.soak.journal import read_journal

pytestmark = pytest.mark.slow

JOB = "0123456789abcdef0123"
PUSH_FAULTS = ("push-429", "push-500", "push-503", "push-lost", "push-cut", "push-slow", "push-twice", "push-delay",
          "push-reorder", "kill", "kill-at-write")  # fmt: skip
PUBLISH_FAULTS = ("publish-refused", "publish-lost", "publish-delay")

# Prints its start and its end, takes some time, and writes an object as the clients of Cloud Storage do.
INGEST = """
    import os, time, urllib.request, functions_framework

    @functions_framework.cloud_event
    def ingest(event):
        name = event.data["message"]["attributes"]["objectId"].rpartition("/")[2]
        print("start", name, os.getpid(), flush=True)
        time.sleep(0.6)
        url = os.environ["STORAGE_EMULATOR_HOST"] + "/upload/storage/v1/b/" + os.environ["DEFACER_WORK_BUCKET"]
        urllib.request.urlopen(url + "/o?uploadType=media&name=notes/" + name, b"done")
        print("end", name, os.getpid(), flush=True)
"""
# Writes a file, as the real worker does in the step redact.
WORKER = """
    import base64, json, pathlib, tempfile, time, functions_framework

    @functions_framework.cloud_event
    def worker(event):
        task = json.loads(base64.b64decode(event.data["message"]["data"]))
        name = f"{task['step']}-{task['index']}"
        print("start", name, flush=True)
        time.sleep(0.3)
        with tempfile.NamedTemporaryFile() as file:
            pathlib.Path(file.name).write_bytes(bytes(100_000))
        print("end", name, flush=True)
"""


def create_plan() -> Plan:
    """Return a plan with one occurrence of each fault."""
    faults = {
        fault: Occurrence(f"ingest/{job_name_of('a', f'{fault}.mp4')}/upload", 1)
        for fault in PUSH_FAULTS
        if fault != "kill-at-write"
    }
    faults["kill-at-write"] = Occurrence(f"storage/write/other/{hash_name('notes/kill-at-write.mp4')}", 1)
    faults |= {
        fault: Occurrence(f"publish/{SEGMENTS}/{JOB}/detect-{index:05d}", 1)
        for index, fault in enumerate(PUBLISH_FAULTS)
    }
    faults["full-disk"] = Occurrence(f"worker/{JOB}/redact-00007", 1)
    replayed = frozenset((fault, str(occurrence)) for fault, occurrence in faults.items())
    return Plan(seed=5, replayed=replayed)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("chaos")
    functions = folder / "functions"
    for function in FUNCTIONS:
        (functions / function.name).mkdir(parents=True)
        write_function(functions, function.name, STAND_IN.format(name=function.name))
    write_function(functions, "ingest", INGEST)
    write_function(functions, "worker", WORKER)
    with Emulator(
        EmulatorOptions(folder / "state", "builtin", functions=functions, chaos=create_plan())
    ) as running:
        yield running
        state = running.state
    assert find_leftovers(state) == []


def count_calls(emulator: Emulator, function: str, name: str) -> tuple[int, int]:
    """Return how often the function started with this name, and how often it ended."""
    lines = [line.split() for line in emulator.folder.log(function).read_text().splitlines()]
    started, ended = ([line for line in lines if line[:2] == [what, name]] for what in ("start", "end"))
    return len(started), len(ended)


def count_faults(emulator: Emulator) -> dict[str, int]:
    return dict(read_journal(emulator.folder.log("chaos").read_text()).faults)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        *((fault, (1, 1)) for fault in ("push-429", "push-500", "push-503", "push-cut", "push-slow")),
        *((fault, (1, 1)) for fault in ("push-delay", "push-reorder")),
        *((fault, (2, 2)) for fault in ("push-lost", "push-twice")),
        ("kill", (2, 1)),
        ("kill-at-write", (2, 1)),
    ],
)
def test_push_succeeds_despite_its_fault(fault: str, expected: tuple[int, int], emulator: Emulator) -> None:
    name = f"{fault}.mp4"
    bucket = emulator.storage_client().bucket(emulator.intake)
    bucket.blob(f"channels/a/videos/{name}").upload_from_string(b"x")

    wait_until(lambda: count_calls(emulator, "ingest", name) == expected, f"{name} was called {expected}")
    assert count_faults(emulator)[fault] == 1
    assert emulator.storage_client().bucket(emulator.work).get_blob(f"notes/{name}") is not None
    emulator.check()


def publish(emulator: Emulator, step: str, index: int) -> None:
    """Publish as a function does."""
    setup = Setup.model_validate_json((emulator.folder.path / "chaos.json").read_bytes())
    data = json.dumps({"job": JOB, "step": step, "index": index}).encode()
    with messaging.create_publisher(setup.function_environment["PUBSUB_EMULATOR_HOST"]) as client:
        client.publish(
            topic=messaging.topic_path(setup.project, SEGMENTS), messages=[PubsubMessage(data=data)]
        )


@pytest.mark.parametrize(("index", "expected"), [(0, 1), (1, 2), (2, 1)], ids=PUBLISH_FAULTS)
def test_publishing_succeeds_despite_its_fault(index: int, expected: int, emulator: Emulator) -> None:
    publish(emulator, "detect", index)

    counts = (expected, expected)
    wait_until(
        lambda: count_calls(emulator, "worker", f"detect-{index}") == counts, f"{expected} messages arrived"
    )
    assert count_faults(emulator)[PUBLISH_FAULTS[index]] == 1


def test_worker_has_a_full_disk_for_one_delivery(emulator: Emulator) -> None:
    publish(emulator, "redact", 7)

    wait_until(lambda: count_calls(emulator, "worker", "redact-7") == (2, 1), "the second delivery succeeded")
    assert "File too large" in emulator.folder.log("worker").read_text()
    assert count_faults(emulator)["full-disk"] == 1


def test_no_process_is_left_of_a_killed_emulator_with_faults(up_with_chaos: Up) -> None:
    state = up_with_chaos.wait_until_ready()
    assert "chaos" in [process.name for process in state.processes]

    up_with_chaos.process.kill()

    wait_until_gone(state)
