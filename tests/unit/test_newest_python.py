"""`make test-newest-python` finds the newest supported Python. The candidates are scripts that print what it prints."""

from pathlib import Path

import pytest

from tests.newest_python import newest


def put(folder: Path, name: str, answer: str, code: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{answer} $0"\nexit {code}\n')
    path.chmod(0o755)
    return path


def test_newest_supported_python_is_found(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new one"
    put(old, "python3", "cpython final 3 11 7")
    put(old, "python3.12", "cpython final 3 12 9")
    wanted = put(new, "python3.13", "cpython final 3 13 10")
    put(new, "python3", "cpython final 3 13 2")
    found = newest([old, tmp_path / "missing", new], (3, 11))
    assert found is not None
    assert (found.series, found.version, found.path) == ("3.13", (3, 13, 10), str(wanted))


@pytest.mark.parametrize(
    ("name", "answer", "code"),
    [
        ("python3.11", "cpython final 3 11 9", 0),
        ("python3.13", "cpython candidate 3 13 0", 0),
        ("python3.13", "pypy final 3 13 0", 0),
        ("python3.13", "pyenv: python3.13: command not found", 127),
        ("python3.99", "cpython final 3 99 0", 0),
        ("python3.13t", "cpython final 3 13 0", 0),
    ],
)
def test_python_that_is_not_newer_or_not_supported_is_skipped(
    name: str, answer: str, code: int, tmp_path: Path
) -> None:
    put(tmp_path, name, answer, code)
    assert newest([tmp_path], (3, 11)) is None
