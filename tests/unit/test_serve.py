"""Run a function as its container does: gunicorn with the arguments from Terraform."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from defacer import serve
from defacer.engine.runtime import gpu
from defacer.pipeline.settings import Settings
from defacer.pipeline.topology import FUNCTIONS
from defacer_emulator.processes.ports import free_ports
from defacer_emulator.processes.supervisor import HOST
from defacer_emulator.resources import Resources
from tests.servers import ROOT

GUNICORN = str(Path(sys.executable).parent / "gunicorn")
ENVIRONMENT = Resources("some-project").environment()


def command(function: str) -> list[str]:
    entrypoint = ["--workers=1", "--timeout=0", "--no-control-socket", "--worker-tmp-dir=/dev/shm"]
    return [GUNICORN, *entrypoint, "--threads=2", f"defacer.serve:application('{function}')"]


@contextmanager
def run_function(function: str, folder: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """Serve a function, and yield its port."""
    (port,) = free_ports(1)
    variables = {**os.environ, **environment, "PORT": str(port), "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command(function), cwd=ROOT, env=variables, stdout=log, stderr=log)
    try:
        wait_until_open(process, port, folder / "log")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while process.poll() is None:
        if request_status(port, "GET", serve.HEALTH) is not None:
            return
    pytest.fail(log.read_text())


def request_status(port: int, method: str, path: str, body: bytes = b"") -> int | None:
    """Return the response's status, or None while no server listens."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    except ConnectionError:
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("function", ["dead_letter", "merge"])
def test_function_is_healthy_and_accepts_only_pushes(function: str, tmp_path: Path) -> None:
    with run_function(function, tmp_path, ENVIRONMENT) as port:
        assert request_status(port, "GET", serve.HEALTH) == 200
        assert request_status(port, "GET", "/") == 405
        assert request_status(port, "POST", "/", b"not a push") == 400


def test_worker_logs_what_the_models_and_codecs_run_on(tmp_path: Path) -> None:
    with run_function("worker", tmp_path, ENVIRONMENT):
        lines = (tmp_path / "log").read_text().splitlines()
        (line,) = (json.loads(line) for line in lines if "worker ready" in line)
    assert line["gpu"] == gpu.describe()
    assert (line["decoders"], line["encoders"]) == ("CPU, no NVDEC", "CPU, no NVENC")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DEFACER_LEASE_SECONDS": "soon"}, "DEFACER_LEASE_SECONDS='soon'"),
        pytest.param(
            {"DEFACER_PRELOAD_MODELS": "true", "DEFACER_REQUIRE_GPU": "true"},
            "PyTorch",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_misconfigured_worker_exits_with_a_clear_error(
    environment: Mapping[str, str], sentence: str, tmp_path: Path
) -> None:
    if "DEFACER_REQUIRE_GPU" in environment and gpu.has_cuda():
        pytest.skip("this machine has a CUDA device")
    (port,) = free_ports(1)
    variables = {**os.environ, **ENVIRONMENT, **environment, "PORT": str(port), "HOME": str(tmp_path)}
    done = subprocess.run(
        command("worker"), cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_container_entrypoint_equals_the_tested_command() -> None:
    text = (ROOT / "infra/Dockerfile").read_text()
    entrypoint = [part.strip().strip('"') for part in text.split("ENTRYPOINT [")[1].split("]")[0].split(",")]
    assert entrypoint == ["gunicorn", *command("worker")[1:5]]


def test_every_function_can_be_served() -> None:
    for function in FUNCTIONS:
        assert (Path(serve.__file__).parent / function.source).is_file()


def test_models_are_preloaded_only_on_request() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    assert (settings.preload_models, settings.require_gpu) == (False, False)
