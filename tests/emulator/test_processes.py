"""No process of the emulator survives its end, and a process that ends unexpectedly is reported."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from defacer.commands.app import main
from defacer.pipeline.topology import LOST_LETTERS_SUBSCRIPTION
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.processes.state import ProcessRecord, StateFolder
from defacer_emulator.services import messaging, storage
from tests.emulator.up import Up, find_leftovers, wait_until_gone, write_function
from tests.servers import wait_until

STUBBORN = """
    import os, signal, subprocess, sys, functions_framework

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    FOREVER = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    subprocess.Popen([sys.executable, "-c", FOREVER], start_new_session=True)

    @functions_framework.cloud_event
    def worker(event):
        pass
"""


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that does not belong to the emulator."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    "number",
    # Ctrl-C: test_up_prints_its_urls_and_the_logs_until_ctrl_c. A closed terminal ends it as SIGTERM does.
    [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)],
    ids=lambda n: n.name,
)
def test_no_process_is_left_after_a_signal(up: Up, number: signal.Signals) -> None:
    state = up.wait_until_ready()

    up.signal_terminal(number)

    code, out, errors = up.wait_for_end()
    assert (code, errors) == (0, ""), out
    assert find_leftovers(state) == []
    assert up.folder.read() is None


def test_second_emulator_in_a_folder_raises_until_down(
    up: Up, stand_ins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = up.wait_until_ready()
    with pytest.raises(
        EmulatorUsageError,
        match=rf"already runs in .* \(process {up.process.pid}.*emulator down --dir",
    ):
        Emulator(EmulatorOptions(up.folder.path, "builtin", functions=stand_ins)).__enter__()
    assert up.state() == state
    assert up.process.poll() is None

    code = main(["emulator", "down", "--dir", str(up.folder.path)])

    assert code == 0
    assert "Stopped the emulator" in capsys.readouterr().out
    assert find_leftovers(state) == []
    assert up.wait_for_end()[0] == 0


def test_no_process_is_left_of_an_emulator_killed_while_it_starts(up: Up) -> None:
    wait_until(
        lambda: (state := up.folder.read()) is not None and len(state.processes) > 2, "servers started"
    )
    state = up.state()
    assert not state.ready

    up.process.kill()

    wait_until_gone(state)


def test_processes_that_ignore_sigterm_or_leave_their_session_end(up: Up, stand_ins: Path) -> None:
    write_function(stand_ins, "worker", STUBBORN)
    state = up.wait_until_ready()
    groups = [group for group in find_leftovers(state) if group.startswith("group")]
    assert len(groups) == len(state.processes), "the reaper has no mark, but the detached process has"

    up.process.kill()

    wait_until_gone(state)


def test_down_ends_what_a_killed_emulator_and_reaper_left(up: Up, capsys: pytest.CaptureFixture[str]) -> None:
    state = up.wait_until_ready()
    reaper = next(process for process in state.processes if process.name == "reaper")
    os.kill(up.process.pid, signal.SIGSTOP)  # so that it does not detect the end of the reaper
    os.kill(reaper.pid, signal.SIGKILL)
    up.process.kill()
    up.process.wait()
    assert len(find_leftovers(state)) > len(state.function_urls)

    assert main(["emulator", "down", "--dir", str(up.folder.path)]) == 0

    out = capsys.readouterr().out
    assert "had already ended" in out
    assert "storage, ingest, worker, merge, dead_letter" in out
    assert find_leftovers(state) == []


def test_ended_function_is_reported_with_the_end_of_its_log(up: Up) -> None:
    state = up.wait_until_ready()
    merge = next(process for process in state.processes if process.name == "merge")

    os.killpg(merge.pid, signal.SIGKILL)

    code, _, errors = up.wait_for_end()
    assert code == 1
    assert errors.startswith("error: merge ended unexpectedly (signal 9). The end of ")
    assert str(up.folder.log("merge")) in errors
    assert find_leftovers(state) == []


@pytest.mark.slow
def test_no_process_is_left_when_the_reaper_is_killed(up: Up) -> None:
    state = up.wait_until_ready()
    reaper = next(process for process in state.processes if process.name == "reaper")

    os.kill(reaper.pid, signal.SIGKILL)

    code, _, errors = up.wait_for_end()
    assert code == 1
    assert "reaper process has ended, so the emulator stops" in errors
    assert find_leftovers(state) == []


def test_function_that_does_not_start_is_reported_with_the_reason(stand_ins: Path, tmp_path: Path) -> None:
    write_function(stand_ins, "ingest", "raise SystemError('no ingest today')")

    with (
        pytest.raises(EmulatorError, match=r"(?s)ingest ended unexpectedly \(exit code 1\).*no ingest today"),
        Emulator(EmulatorOptions(tmp_path / "state", "builtin", functions=stand_ins)),
    ):
        pytest.fail("the emulator started")

    assert StateFolder(tmp_path / "state").read() is None


def test_missing_function_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(EmulatorError, match="The function ingest has no "),
        Emulator(EmulatorOptions(tmp_path / "state", "builtin", functions=tmp_path / "nothing")),
    ):
        pytest.fail("the emulator started")


def test_down_does_not_end_a_process_with_a_reused_pid(
    running: Emulator,
    tmp_path: Path,
    bystander: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    other_process = ProcessRecord(name="worker", pid=bystander.pid, started=0.0)
    changes = {"run": "of-a-killed-emulator", "parent": other_process, "processes": (other_process,)}
    folder = StateFolder(tmp_path)
    folder.write(running.state.model_copy(update=changes))

    assert main(["emulator", "down", "--dir", str(tmp_path)]) == 0

    assert bystander.poll() is None
    assert "Ended the processes" not in capsys.readouterr().out
    assert folder.read() is None


def test_upload_calls_the_function(running: Emulator) -> None:
    name = "channels/a/videos/b.mp4"
    running.storage_client().bucket(running.intake).blob(name).upload_from_string(b"x")

    log = running.folder.log("ingest")
    wait_until(lambda: f"called ingest with {name}" in log.read_text(), "ingest was called")


def test_objects_survive_a_restart_and_open_jobs_are_stopped(
    stand_ins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = EmulatorOptions(tmp_path / "state", "builtin", functions=stand_ins)
    job = "0123456789abcdef0123"
    with Emulator(options) as emulator:
        blob = emulator.storage_client().bucket(emulator.work).blob(f"jobs/{job}/merge-lease.json")
        blob.upload_from_string(b"kept")
        assert main(["job", "status", "--dir", str(options.state)]) == 0
        assert "waiting" in capsys.readouterr().out
    assert find_leftovers(emulator.state) == []

    with Emulator(options) as emulator:
        found = emulator.storage_client().bucket(emulator.work).get_blob(blob.name)
        assert found is not None
        assert (found.generation, found.download_as_bytes()) == (blob.generation, b"kept")
        assert main(["job", "status", "--dir", str(options.state)]) == 0
    listed = capsys.readouterr().out
    assert job in listed
    assert "stopped with an earlier emulator" in listed


def test_subscriptions_are_created_from_the_topology(running: Emulator) -> None:
    with messaging.create_subscriber(running.state.pubsub_host) as client:
        found = {
            function.name: client.get_subscription(
                subscription=f"projects/{running.state.project}/subscriptions/{function.subscription}"
            )
            for function in running.resources.functions
        }
        lost_letters = client.get_subscription(
            subscription=f"projects/{running.state.project}/subscriptions/{LOST_LETTERS_SUBSCRIPTION}"
        )

    worker, dead_letter = found["worker"], found["dead_letter"]
    assert worker.push_config.push_endpoint == running.state.function_urls["worker"]
    assert worker.ack_deadline_seconds == 600
    assert worker.dead_letter_policy.max_delivery_attempts == 100
    assert worker.dead_letter_policy.dead_letter_topic.endswith("/topics/dead-letters")
    assert worker.retry_policy.minimum_backoff.total_seconds() == 1
    assert dict(worker.labels) == {"max-outstanding": "3"}
    assert dead_letter.dead_letter_policy.dead_letter_topic == lost_letters.topic
    assert lost_letters.topic.endswith("/topics/lost-letters")
    assert not lost_letters.push_config.push_endpoint


@pytest.mark.parametrize("spoil", [lambda text: text[:20], lambda text: '{"run": 1}'], ids=["cut", "other"])
def test_invalid_state_file_is_reported(
    spoil: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.json").write_text(spoil('{"something": "else entirely"}'))

    assert main(["emulator", "down", "--dir", str(tmp_path)]) == 1

    assert str(tmp_path / "state.json") in capsys.readouterr().err


def test_up_prints_its_urls_and_the_logs_until_ctrl_c(
    up_with_pages: Up, capsys: pytest.CaptureFixture[str]
) -> None:
    up = up_with_pages
    state = up.wait_until_ready()
    name = "channels/demo/videos/walk.mp4"
    client = storage.create_client(state.project, state.storage_url)
    client.bucket(state.resources.intake).blob(name).upload_from_string(b"x")
    log = up.folder.log("ingest")
    wait_until(lambda: "called ingest" in log.read_text(), "ingest was called")
    page = requests.get(str(state.console_url), headers={"Accept": "text/html"}, timeout=60)
    assert (page.status_code, "<h1" in page.text) == (200, True)

    assert main(["emulator", "status", "--dir", str(up.folder.path)]) == 0
    shown = capsys.readouterr().out
    assert f"  export STORAGE_EMULATOR_HOST={state.storage_url}\n" in shown
    assert f"  export PUBSUB_EMULATOR_HOST={state.pubsub_host}\n" in shown
    assert f"  worker       {state.function_urls['worker']}\n" in shown

    up.signal_terminal(signal.SIGINT)

    code, out, errors = up.wait_for_end()
    assert (code, errors) == (0, "")
    console = f"Open the console in a browser:\n  {state.console_url}\n"
    assert out.split("...\n")[1].startswith(console)
    assert f"\nReady: {state.console_url}. Ctrl-C stops everything.\n" in out
    assert "export" not in out  # only `status` prints what a program needs
    assert f"ingest      | called ingest with {name}\n" in out
    assert out.endswith("Stopped.\n")
    assert find_leftovers(state) == []
    assert up.folder.read() is None
