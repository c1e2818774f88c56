"""Names on a terminal are shown without control characters, and progress bars name the stage."""

import pytest

from defacer.commands.common.terminal import Terminal, printable_lines
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
