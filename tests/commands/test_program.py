"""Hints that can be pasted into the terminal."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from defacer.program import quote_words

WORDS = ["render", Path("my holiday.mp4"), "a'b", 7]


def test_hint_is_quoted_for_a_posix_shell() -> None:
    assert shlex.split(quote_words(WORDS)) == list(map(str, WORDS))


def test_hint_is_quoted_for_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:
        windows.setattr(sys, "platform", "win32")
        found = quote_words(WORDS)
    assert found == subprocess.list2cmdline(map(str, WORDS))
    assert '"my holiday.mp4"' in found
