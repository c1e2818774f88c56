"""A command cleans up after SIGTERM and SIGHUP, unless it was started to ignore them."""

import subprocess
import sys

import pytest

# In a process of its own: the signal must not reach the native libraries of the test process.
CODE = """
import signal
from defacer.commands.common.signals import interrupt_on_signals

signal.signal(signal.SIGHUP, signal.{before})
try:
    with interrupt_on_signals():
        signal.raise_signal(signal.SIGHUP)
    print("ignored")
except KeyboardInterrupt:
    print("interrupted")
assert signal.getsignal(signal.SIGHUP) == signal.{before}
"""


@pytest.mark.parametrize(("before", "effect"), [("SIG_DFL", "interrupted"), ("SIG_IGN", "ignored")])
def test_hangup_interrupts_unless_nohup_ignores_it(before: str, effect: str) -> None:
    command = [sys.executable, "-c", CODE.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{effect}\n"
