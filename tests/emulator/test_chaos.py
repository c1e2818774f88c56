"""`up --chaos` with stand-in functions: each fault strikes what the plan says, and the function comes to its end."""

import json
from collections.abc import Iterator

import pytest

from defacer.pipeline.topology import FUNCTIONS, SEGMENTS
from defacer_emulator.chaos.plan import Occurrence, Plan
from defacer_emulator.chaos.setup import Setup
from defacer_emulator.chaos.subjects import hash_name, job_name_of
from defacer_emulator.emulator import Emulator, Options
from defacer_emulator.services import messaging
from tests.emulator.conftest import STAND_IN
from tests.emulator.up import Up, leftovers, wait_until_gone, write_function
from tests.servers import wait_until
from tests.soak.journal import read_journal

pytestmark = pytest.mark.slow

JOB = "0123456789abcdef0123"
PUSHES = ("push-429", "push-500", "push-503", "push-lost", "push-cut", "push-slow", "push-twice", "push-delay",
          "push-reorder", "kill", "kill-at-write")  # fmt: skip
PUBLISHING = ("publish-refused", "publish-lost", "publish-delay")

# Says when it starts and when it ends, takes its time, and writes an object as Cloud Storage's clients do.
INGEST = """
    import os, time, urllib.request, functions_framework

    @functions_framework.cloud_event
    def ingest(event):
        name = event.data["message"]["attributes"]["objectId"].rpartition("/")[2]
        print("began", name, os.getpid(), flush=True)
        time.sleep(0.6)
        url = os.environ["STORAGE_EMULATOR_HOST"] + "/upload/storage/v1/b/" + os.environ["DEFACER_WORK_BUCKET"]
        urllib.request.urlopen(url + "/o?uploadType=media&name=notes/" + name, b"done")
        print("ended", name, os.getpid(), flush=True)
"""
# Writes a file, as the worker does that hides a segment.
WORKER = """
    import base64, json, pathlib, tempfile, time, functions_framework

    @functions_framework.cloud_event
    def worker(event):
        task = json.loads(base64.b64decode(event.data["message"]["data"]))
        name = f"{task['step']}-{task['index']}"
        print("began", name, flush=True)
        time.sleep(0.3)
        with tempfile.NamedTemporaryFile() as file:
            pathlib.Path(file.name).write_bytes(bytes(100_000))
        print("ended", name, flush=True)
"""


def plan() -> Plan:
    """Each fault strikes one thing, once."""
    faults = {
        fault: Occurrence(f"ingest/{job_name_of('a', f'{fault}.mp4')}/upload", 1)
        for fault in PUSHES
        if fault != "kill-at-write"
    }
    faults["kill-at-write"] = Occurrence(f"storage/write/other/{hash_name('notes/kill-at-write.mp4')}", 1)
    faults |= {
        fault: Occurrence(f"publish/{SEGMENTS}/{JOB}/detect-{index:05d}", 1)
        for index, fault in enumerate(PUBLISHING)
    }
    faults["full-disk"] = Occurrence(f"worker/{JOB}/redact-00007", 1)
    replayed = frozenset((fault, str(moment)) for fault, moment in faults.items())
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
    with Emulator(Options(folder / "state", "builtin", functions=functions, chaos=plan())) as running:
        yield running
        state = running.state
    assert leftovers(state) == []


def calls(emulator: Emulator, function: str, name: str) -> tuple[int, int]:
    """How often the function began with this thing, and how often it came to its end."""
    lines = [line.split() for line in emulator.folder.log(function).read_text().splitlines()]
    began, ended = ([line for line in lines if line[:2] == [what, name]] for what in ("began", "ended"))
    return len(began), len(ended)


def faults(emulator: Emulator) -> dict[str, int]:
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
def test_a_push_comes_through_its_fault(fault: str, expected: tuple[int, int], emulator: Emulator) -> None:
    name = f"{fault}.mp4"
    bucket = emulator.storage_client().bucket(emulator.intake)
    bucket.blob(f"channels/a/videos/{name}").upload_from_string(b"x")

    wait_until(lambda: calls(emulator, "ingest", name) == expected, f"{name} was called {expected}")
    assert faults(emulator)[fault] == 1
    assert emulator.storage_client().bucket(emulator.work).get_blob(f"notes/{name}") is not None
    emulator.check()


def publish(emulator: Emulator, step: str, index: int) -> None:
    """As a function publishes."""
    setup = Setup.model_validate_json((emulator.folder.path / "chaos.json").read_bytes())
    data = json.dumps({"job": JOB, "step": step, "index": index}).encode()
    with messaging.create_publisher(setup.function_environment["PUBSUB_EMULATOR_HOST"]) as client:
        client.publish(topic=messaging.topic_path(setup.project, SEGMENTS), messages=[{"data": data}])


@pytest.mark.parametrize(("index", "expected"), [(0, 1), (1, 2), (2, 1)], ids=PUBLISHING)
def test_publishing_comes_through_its_fault(index: int, expected: int, emulator: Emulator) -> None:
    publish(emulator, "detect", index)

    wanted = (expected, expected)
    wait_until(lambda: calls(emulator, "worker", f"detect-{index}") == wanted, f"{expected} messages arrived")
    assert faults(emulator)[PUBLISHING[index]] == 1


def test_a_worker_finds_the_disk_full_for_the_length_of_one_delivery(emulator: Emulator) -> None:
    publish(emulator, "redact", 7)

    wait_until(lambda: calls(emulator, "worker", "redact-7") == (2, 1), "the second delivery had room")
    assert "File too large" in emulator.folder.log("worker").read_text()
    assert faults(emulator)["full-disk"] == 1


def test_nothing_is_left_when_an_emulator_that_does_harm_is_killed(up_with_chaos: Up) -> None:
    state = up_with_chaos.wait_until_ready()
    assert "chaos" in [process.name for process in state.processes]

    up_with_chaos.process.kill()

    wait_until_gone(state)
