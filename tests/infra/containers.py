"""Start a Cloud Run service of the applied Terraform as a process: the image's entry point, environment and user."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.infra.dockerfile import inherited_instructions, stages
from tests.permissions import Need
from tests.servers import ROOT, UV, free_port, wait_until

CONTAINER_PORT = "8080"  # Cloud Run's default
STOP_SECONDS = 20
PYTHON = "3.11"  # of the base image
WEIGHTS = Path("~/.cache/defacer/weights").expanduser()
# $0 is the hosts file of the process.
OWN_HOSTS = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')
# Files of root are readable, as in an image, where all files are. Nothing outside of the user's folders is writable.
DROP_RIGHTS = (
    "setpriv", "--regid={user}", "--reuid={user}", "--clear-groups", "--no-new-privs",
    *(f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "bounding-set")), "--ambient-caps=+dac_read_search",
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A stage of infra/Dockerfile, whose packages are installed in `venv`."""

    stage: str
    venv: Path

    def install(self) -> None:
        """Install the packages of the stage as the Dockerfile does, and nothing else."""
        (lock,) = re.findall(r"infra/locks/\S+\.lock", str(stages()[f"installed-{self.stage}"]))
        subprocess.run([UV, "venv", "--quiet", "--python", PYTHON, self.venv], check=True)
        options = ("--only-binary", ":all:", "--require-hashes", "--requirement", ROOT / lock)
        subprocess.run([UV, "pip", "install", "--quiet", "--python", self.venv, *options], check=True)

    def _values(self, kind: str) -> list[str]:
        return [rest for name, rest in inherited_instructions(self.stage) if name == kind]

    @property
    def user(self) -> str:
        return self._values("USER")[-1]

    @property
    def entrypoint(self) -> list[str]:
        found: list[str] = json.loads(self._values("ENTRYPOINT")[-1])
        return found

    def environment(self, app: Path) -> dict[str, str]:
        """Return the variables of ENV, with the folders of this machine. `app` is the working folder."""
        found = {}
        for line in self._values("ENV"):
            for pair in line.split():
                name, _, value = pair.partition("=")
                for place, here in {"/opt/venv": self.venv, "/opt/weights": WEIGHTS, "/app": app}.items():
                    value = value.replace(place, str(here))
                found[name] = value.replace("$PATH", os.environ["PATH"])
        return found

    def copy_files(self, folder: Path) -> None:
        """Copy the files of this repository into the image's working folder."""
        for rest in self._values("COPY"):
            if not rest.startswith("--"):
                *sources, target = rest.split()
                for source in sources:
                    shutil.copytree(
                        ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__")
                    )


@dataclass(frozen=True)
class Container:
    """A service of the applied Terraform. Its command and environment are those of its only container.

    The folder `venvs` has the packages of each image. Without it, the container uses those of this Python.
    """

    service: Mapping[str, Any]
    venvs: Path | None = None

    @property
    def name(self) -> str:
        return str(self.service["name"])

    @property
    def member(self) -> str:
        return f"serviceAccount:{self._template['service_account']}"

    @property
    def image(self) -> Image:
        stage = self._spec["image"].rpartition("/")[2].partition(":")[0]
        return Image(stage, self.venvs / stage if self.venvs else Path(sys.executable).parent.parent)

    @property
    def concurrency(self) -> int:
        return int(self._template["max_instance_request_concurrency"])

    @property
    def _template(self) -> Mapping[str, Any]:
        (template,) = self.service["template"]
        return template

    @property
    def _spec(self) -> Mapping[str, Any]:
        (spec,) = self._template["containers"]
        return spec

    def command(self, port: int) -> list[str]:
        words = [*(self._spec["command"] or self.image.entrypoint), *(self._spec["args"] or ())]
        return [word.replace(CONTAINER_PORT, str(port)) for word in words]

    def needed_secrets(self) -> Iterator[tuple[str, Need]]:
        """Yield the variable of each secret, and the permission to read it."""
        for variable in self._spec["env"]:
            for source in variable["value_source"]:
                (reference,) = source["secret_key_ref"]
                need = Need("secretmanager.versions.access", f"secrets/{reference['secret']}")
                yield variable["name"], need

    def environment(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that Terraform sets."""
        plain = {item["name"]: item["value"] for item in self._spec["env"] if not item["value_source"]}
        return {**plain, **secrets}

    @property
    def health_path(self) -> str:
        (probe,) = self._spec["startup_probe"]
        (get,) = probe["http_get"]
        return str(get["path"])

    @property
    def start_seconds(self) -> float:
        """Return how long Cloud Run waits for the first healthy answer."""
        (probe,) = self._spec["startup_probe"]
        return float(probe["period_seconds"]) * float(probe["failure_threshold"])


@contextmanager
def run_container(
    container: Container, folder: Path, environment: Mapping[str, str], hosts: Path
) -> Iterator["RunningContainer"]:
    """Start the process with this hosts file, without waiting for its health."""
    image, port = container.image, free_port()
    (folder / "app").mkdir(parents=True)
    image.copy_files(folder / "app")
    for name in ("tmp", "home"):  # the user's folders: /tmp and its home
        (folder / name).mkdir(mode=0o777)
        (folder / name).chmod(0o777)
    variables = {
        **image.environment(folder / "app"), "PORT": str(port), "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"), **environment,
    }  # fmt: skip
    rights = (word.format(user=image.user) for word in DROP_RIGHTS)
    command = [*OWN_HOSTS, str(hosts), *rights, *container.command(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder / "app", env=variables, stdout=log, stderr=log)
    try:
        yield RunningContainer(container, process, port, folder / "log")
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class RunningContainer:
    container: Container
    process: "subprocess.Popen[bytes]"
    port: int
    log_file: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_until_healthy(self) -> None:
        def is_over() -> bool:
            if self.process.poll() is not None:
                return True
            try:
                return requests.get(self.address + self.container.health_path, timeout=5).ok
            except (
                requests.ConnectionError,
                requests.Timeout,
            ):  # gunicorn opens the port before it loads the code
                return False

        wait_until(is_over, f"{self.container.name} is healthy", self.container.start_seconds)
        assert self.process.poll() is None, self.log
