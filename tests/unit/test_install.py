"""`defacer_emulator.setup.install`: progress without the list of packages, and repair after an interruption."""

import subprocess
import sys
from pathlib import Path

import pytest

from defacer_emulator.setup.install import main
from tests.servers import ROOT

PRINTS = "import sys; print('Downloading av (34.1MiB)\\n + av==18.1.0', file=sys.stderr); print(sys.argv[1:])"


@pytest.fixture(autouse=True)
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    return tmp_path


def test_progress_is_printed_without_the_package_list(venv: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([sys.executable, "-c", PRINTS]) == 0

    out = capfd.readouterr().out
    assert "    Downloading av (34.1MiB)\n" in out
    assert "av==" not in out
    assert "    Done in " in out
    assert list(venv.iterdir()) == []


def test_run_after_a_failed_installation_reinstalls_all(
    venv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert [path.name for path in venv.iterdir()] == [".incomplete"]

    assert main([sys.executable, "-c", PRINTS]) == 0
    assert "['--reinstall']" in capfd.readouterr().out
    assert main([sys.executable, "-c", PRINTS]) == 0
    assert "['--reinstall']" not in capfd.readouterr().out


def test_ctrl_c_prints_what_the_next_run_does(venv: Path) -> None:
    """The child interrupts its process group, as a terminal does. Background jobs need the handler for Ctrl-C."""
    handle_interrupt = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    starts = "from defacer_emulator.setup.install import main; sys.exit(main(sys.argv[1:]))"
    child = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); os.killpg(0, signal.SIGINT)"
    command = [sys.executable, "-c", handle_interrupt + starts, sys.executable, "-c", child]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, start_new_session=True
    )

    assert done.returncode == 130, done.stderr
    assert "Interrupted. The next run of make installs these packages again." in done.stderr
    assert "Traceback" not in done.stderr
    assert (venv / ".incomplete").exists()
