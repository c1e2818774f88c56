"""A worker whose GPU has failed: it is unhealthy, takes no segment, and gunicorn replaces its process.

The injected error is PyTorch's at an illegal address: from then on, each call of CUDA in the process fails.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests

from defacer.engine.runtime import gpu
from defacer_emulator.resources import Resources
from tests.cloud import Buckets, Post, Topics
from tests.functions.working import lease_name
from tests.planned import Planned
from tests.servers import ROOT, free_port, wait_until

# Serves the worker with a PyTorch whose GPU fails while the file $FAILED exists.
SERVER = """
import os, sys
from pathlib import Path
from defacer import serve
from tests.functions.test_failed_gpu import fake_torch

def application():
    app = serve.application("worker")
    sys.modules["torch"] = fake_torch(lambda: Path(os.environ["FAILED"]).exists())
    return app
"""


def fake_torch(has_failed):
    """Return what `gpu.is_computing` needs of PyTorch."""

    class FullMemoryError(RuntimeError):
        pass

    def ones(count, device):
        if has_failed():
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: count))

    cuda = SimpleNamespace(is_initialized=lambda: True)
    return SimpleNamespace(cuda=cuda, ones=ones, OutOfMemoryError=FullMemoryError)


@pytest.mark.parametrize("failed", [False, True])
def test_gpu_is_asked_to_compute(failed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake_torch(lambda: failed))
    assert gpu.is_computing() is not failed


def test_full_memory_of_the_gpu_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = fake_torch(lambda: False)

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    torch.ones = full
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert gpu.is_computing()


def test_worker_with_a_failed_gpu_takes_no_segment(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *signalled: ended.append(signalled))
    monkeypatch.setitem(sys.modules, "torch", fake_torch(lambda: True))
    assert worker(planned.task(0)) == 503
    assert ended == [(os.getpid(), signal.SIGTERM)]
    assert buckets.blob(buckets.work, lease_name(planned, 0)) is None  # so it does not count as an attempt


@pytest.mark.slow
def test_process_with_a_failed_gpu_is_unhealthy_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    failed, port = tmp_path / "failed", free_port()
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--threads=2", "server:application()"]
    environment = {
        **os.environ, **Resources("some-project").environment(), "PORT": str(port), "FAILED": str(failed),
        "PYTHONPATH": f"{tmp_path}:{ROOT}", "HOME": str(tmp_path),
    }  # fmt: skip

    def health() -> int:
        try:
            return requests.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code
        except requests.ConnectionError:
            return 0

    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: health() == 200, "the worker is healthy")
        (first,) = psutil.Process(process.pid).children()
        failed.touch()
        assert health() == 503
        failed.unlink()
        wait_until(lambda: not first.is_running(), "the process has ended")
        wait_until(lambda: health() == 200, "another process is healthy")
    finally:
        process.terminate()
        process.wait(30)
    assert "the GPU failed, the process ends" in (tmp_path / "log").read_text()
