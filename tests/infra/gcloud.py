"""Ask the real gcloud whether it accepts a command, without running it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

requires_gcloud = pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed")


def find_refused(commands: Iterable[str], folder: Path) -> dict[str, str]:
    """Return gcloud's error for each command that it refuses. It checks names, flags and the form of their values."""
    listed, file = list(commands), folder / "commands.json"
    file.write_text(json.dumps([{"command_string": command} for command in listed]))
    # An internal command of gcloud, which runs its parser: `gcloud meta --help`.
    done = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"],
        env={**os.environ, "CLOUDSDK_CONFIG": str(folder / "settings-of-gcloud")},
        capture_output=True,
        text=True,
        check=False,
    )
    results = json.loads(done.stdout)
    assert len(results) == len(listed), done.stderr
    return {
        command: result["error_message"]
        for command, result in zip(listed, results, strict=True)
        if not result["success"]
    }
