import pytest

from defacer.plurals import printable
from defacer_emulator.terminal import printable_lines


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
def test_what_a_terminal_would_obey_is_spelt_out(name: str, shown: str) -> None:
    assert printable(name) == shown


@pytest.mark.parametrize("name", ["walk 1.mp4", "שלום", "مرحبا", "日本", "👩\u200d👩\u200d👧", "é", "[bold]"])
def test_a_name_that_does_no_harm_is_shown_as_it_is(name: str) -> None:
    assert printable(name) == name


def test_the_lines_of_a_longer_text_stay_lines() -> None:
    assert printable_lines("one\ntwo\x1b[0m") == "one\ntwo\\x1b[0m"
