"""A function as its container runs it: gunicorn, with the arguments that Terraform gives."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from defacer import serve
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
def served(function: str, folder: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """The port that the function listens on."""
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
        if ask(port, "GET", serve.HEALTH) is not None:
            return
    pytest.fail(log.read_text())


def ask(port: int, method: str, path: str, body: bytes = b"") -> int | None:
    """The answer's status; None if nobody listens yet."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    except ConnectionError:
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("function", ["dead_letter", "merge"])
def test_a_function_is_healthy_and_answers_pushes_alone(function: str, tmp_path: Path) -> None:
    with served(function, tmp_path, ENVIRONMENT) as port:
        assert ask(port, "GET", serve.HEALTH) == 200
        assert ask(port, "GET", "/") == 405
        assert ask(port, "POST", "/", b"not a push") == 400


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DEFACER_LEASE_SECONDS": "soon"}, "DEFACER_LEASE_SECONDS='soon'"),
        ({"DEFACER_PRELOAD_MODELS": "true", "DEFACER_REQUIRE_GPU": "true"}, "PyTorch"),
    ],
)
def test_a_worker_that_can_t_work_does_not_start_and_says_why(
    environment: Mapping[str, str], sentence: str, tmp_path: Path
) -> None:
    from defacer.engine.models.gpu import has_cuda

    if "DEFACER_REQUIRE_GPU" in environment and has_cuda():
        pytest.skip("this machine has a CUDA device")
    (port,) = free_ports(1)
    variables = {**os.environ, **ENVIRONMENT, **environment, "PORT": str(port), "HOME": str(tmp_path)}
    done = subprocess.run(
        command("worker"), cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_container_s_entrypoint_is_what_is_tested_here() -> None:
    text = (ROOT / "infra/Dockerfile").read_text()
    entrypoint = [part.strip().strip('"') for part in text.split("ENTRYPOINT [")[1].split("]")[0].split(",")]
    assert entrypoint == ["gunicorn", *command("worker")[1:5]]


def test_every_function_can_be_served() -> None:
    for function in FUNCTIONS:
        assert (Path(serve.__file__).parent / function.source).is_file()


def test_nothing_is_warmed_up_unless_it_is_asked_for() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    assert (settings.preload_models, settings.require_gpu) == (False, False)
