"""`up --reload`: changed functions start again, and no message is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from defacer_emulator import reloader
from defacer_emulator.emulator import FUNCTIONS_FOLDER, Emulator, EmulatorOptions
from defacer_emulator.processes import supervisor
from defacer_emulator.reloader import CodeWatcher, Reloader
from tests.emulator.up import write_function
from tests.servers import wait_until

# Prints when it is called. The call ends when the file exists.
WAITS_FOR_FILE = """
    import time, functions_framework
    from pathlib import Path

    @functions_framework.cloud_event
    def ingest(event):
        name = event.data["message"]["attributes"]["objectId"]
        print("began", name, flush=True)
        while not Path({release!r}).exists():
            time.sleep(0.02)
        print("{version} ended", name, flush=True)
"""


class Reloading:
    """A running emulator whose functions are reloaded, and the lines that the reloader printed."""

    def __init__(self, emulator: Emulator, folder: Path):
        self.emulator = emulator
        self.release = folder / "release"
        self._folder = folder / "stand-ins"
        self._reloader = Reloader(emulator)
        self._lines: list[str] = []

    def change(self, source: str) -> None:
        write_function(self._folder, "ingest", source)

    def upload(self, name: str) -> str:
        """Upload an object, and return its name."""
        blob = self.emulator.storage_client().bucket(self.emulator.intake).blob(f"channels/a/videos/{name}")
        blob.upload_from_string(b"x")
        return str(blob.name)

    def wait_for_line(self, text: str) -> None:
        """Let the reloader work until it prints a line with this text, and forget the earlier lines."""

        def is_printed() -> bool:
            self.emulator.check()
            self._lines += self._reloader.reload_changed()
            return any(text in line for line in self._lines)

        wait_until(is_printed, f"the reloader printed {text!r}", 60)
        self._lines.clear()

    def wait_for_log(self, text: str) -> str:
        log = self.emulator.folder.log("ingest")
        wait_until(lambda: text in log.read_text(), f"ingest logged {text!r}", 60)
        return log.read_text()

    def pid(self) -> int:
        return next(process.pid for process in self.emulator.state.processes if process.name == "ingest")


@pytest.fixture
def reloading(stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reloading]:
    monkeypatch.setattr(reloader, "SCAN_SECONDS", 0.05)
    release = str(tmp_path / "release")
    write_function(stand_ins, "ingest", WAITS_FOR_FILE.format(release=release, version="first"))
    with Emulator(EmulatorOptions(tmp_path / "state", "builtin", functions=stand_ins)) as emulator:
        yield Reloading(emulator, tmp_path)


def second_version(reloading: Reloading) -> str:
    return WAITS_FOR_FILE.format(release=str(reloading.release), version="second")


def test_changed_function_ends_its_requests_before_it_is_replaced(reloading: Reloading) -> None:
    earlier = reloading.pid()
    in_progress = reloading.upload("in-progress.mp4")
    reloading.wait_for_log(f"began {in_progress}")

    reloading.change(second_version(reloading))
    reloading.wait_for_line("ingest has changed")
    while_stopping = reloading.upload("while-stopping.mp4")
    reloading.release.touch()
    reloading.wait_for_line("Started ingest again")

    log = reloading.wait_for_log(f"second ended {while_stopping}")
    assert f"first ended {in_progress}" in log
    assert f"second ended {in_progress}" not in log
    assert reloading.pid() != earlier


@pytest.mark.slow
def test_message_of_a_request_that_did_not_end_is_delivered_again(
    reloading: Reloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "REPLACE_SECONDS", 0.2)
    endless = reloading.upload("endless.mp4")
    reloading.wait_for_log(f"began {endless}")

    reloading.change(second_version(reloading))
    reloading.wait_for_line("Started ingest again")
    reloading.release.touch()

    assert f"first ended {endless}" not in reloading.wait_for_log(f"second ended {endless}")


@pytest.mark.slow
def test_function_with_an_error_starts_again_when_it_is_corrected(reloading: Reloading) -> None:
    reloading.change("an error")
    reloading.wait_for_line("ingest has ended. Correct its code")
    reloading.release.touch()
    name = reloading.upload("waits.mp4")

    reloading.change(second_version(reloading))

    reloading.wait_for_line("Started ingest again")
    reloading.wait_for_log(f"second ended {name}")


def test_changed_file_is_found_once_and_when_it_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "web" / "page.html"
    file.parent.mkdir()
    file.write_text("one")
    watcher = CodeWatcher([tmp_path])
    (tmp_path / "notes.txt").write_text("not code")
    assert watcher.find_changed() == set()
    file.write_text("two words")
    assert watcher.find_changed() == set()  # it can still grow
    file.write_text("three words now")
    assert watcher.find_changed() == set()
    assert watcher.find_changed() == {file}
    assert watcher.find_changed() == set()
    file.unlink()
    watcher.find_changed()
    assert watcher.find_changed() == {file}


@pytest.mark.parametrize(
    ("file", "restarted"),
    [
        ("merge/link_step.py", {"merge"}),
        ("web/console/templates/jobs.html", {"console"}),
        ("web/common/security.py", {"console", "live"}),
        ("commands/job.py", set()),
        ("pipeline/channel.py", {"ingest", "worker", "merge", "dead_letter", "console", "live"}),
        ("engine_host.py", {"ingest", "worker", "merge", "dead_letter", "console", "live"}),
    ],
)
def test_only_the_users_of_a_changed_file_restart(file: str, restarted: set[str], tmp_path: Path) -> None:
    assert (FUNCTIONS_FOLDER / file).is_file()
    found = Reloader(Emulator(EmulatorOptions(tmp_path)))
    programs = {"ingest", "worker", "merge", "dead_letter", "console", "live"}
    assert found.find_users(FUNCTIONS_FOLDER / file, programs) == restarted
