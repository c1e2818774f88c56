"""Names on a terminal are shown without control characters, and progress bars name the stage."""

from pathlib import Path

import pytest

from defacer.commands.common.terminal import Terminal, printable_lines
from defacer.commands.jobs.job_table import print_table
from defacer.pipeline.lifecycle.job_status import job_status_of
from defacer.plurals import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\x1b[2Jb", "a\\r\\x1b[2Jb"),
        ("safe\u202e4pm.exe", "safe\\u202e4pm.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("bad-\udcff-byte", "bad-\\udcff-byte"),
        ("\x07\x9b1m", "\\x07\\x9b1m"),
    ],
)
def test_control_characters_are_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown


@pytest.mark.parametrize("name", ["walk 1.mp4", "שלום", "مرحبا", "日本", "👩\u200d👩\u200d👧", "é", "[bold]"])
def test_harmless_name_is_shown_unchanged(name: str) -> None:
    assert printable(name) == name


def test_line_breaks_of_a_longer_text_stay() -> None:
    assert printable_lines("one\ntwo\x1b[0m") == "one\ntwo\\x1b[0m"


NAME = "bad [dQw4w9WgXcQ] [/] :smile: [bold].mp4"


@pytest.mark.parametrize("kind", ["0", "1"], ids=["file", "terminal"])
def test_brackets_and_colons_of_a_name_are_shown(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", kind)  # Rich treats the output as a terminal
    monkeypatch.setenv("COLUMNS", "200")
    file, terminal = tmp_path / "any.mp4", Terminal()
    file.write_bytes(b"x")
    terminal.print_line(f"line {NAME}", style="yellow")
    with terminal.show_files(1) as files:
        files.show(NAME, "one", 1, 2)
    with terminal.open_with_progress(file, f"two {NAME}") as opened:
        opened.read()
    with terminal.show_stages("three") as stages:
        stages.update(f"four {NAME}", 0.5, f"five {NAME}")
    shown = capfd.readouterr().err
    expected = [f"line {NAME}", f"{NAME}: one", f"two {NAME}", f"four {NAME}"]
    assert [text for text in expected if text not in shown] == []


def test_table_of_jobs_shows_the_name_of_a_video(capsys: pytest.CaptureFixture[str]) -> None:
    job = job_status_of("0" * 20, [], f"channels/street/videos/{NAME}", lambda *_: None)
    print_table([job], None)
    assert f"channels/street/videos/{NAME}" in capsys.readouterr().out


def test_stage_after_the_last_frame_is_named_without_a_percentage(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # Rich treats the output as a terminal
    with Terminal().show_files(1) as progress:
        progress.show("a.mp4", "redacting faces", 20, 20)
        progress.show("a.mp4", "checking the result", 0, None)
    *_, last = capfd.readouterr().err.split("a.mp4: ")
    assert last.startswith("checking the result")
    assert "%" not in last
    assert "frames" not in last
