"""The live service as a process, and who uses it as its page does."""

import json
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from defacer_emulator.processes.supervisor import is_http_ready
from tests.cloud import PROJECT
from tests.live.pictures import FRAMES_PER_SECOND, Clip, endlessly
from tests.servers import ROOT, free_port, wait_until

START_SECONDS = 180


@dataclass
class Service:
    """Where it is, and what it has logged."""

    url: str
    log: Path

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def session(self) -> requests.Session:
        """A browser's: with the page's token."""
        browser = requests.Session()
        page = browser.get(self.url, timeout=60)
        token = re.search(r'name="csrf" content="([^"]+)"', page.text)
        assert token
        browser.headers.update({"Origin": self.url, "X-CSRF-Token": token[1]})
        return browser

    def begin(self, **wish: Any) -> dict[str, str]:
        answer = self.session().post(f"{self.url}/streams", json=wish, timeout=120)
        assert answer.status_code == 201, answer.text
        begun: dict[str, str] = answer.json()
        return begun

    def socket(self, path: str, origin: str | None = None) -> ClientConnection:
        return connect(f"ws://{self.host}{path}", origin=origin or self.url, open_timeout=60, max_size=None)


@contextmanager
def live_service(
    folder: Path, storage: str, buckets: tuple[str, str, str], **settings: object
) -> Iterator[Service]:
    """The service, with these settings besides."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    values = {
        "project": PROJECT,
        **dict(zip(("intake_bucket", "work_bucket", "output_bucket"), buckets, strict=True)),
    }
    values |= {
        "live_allow_loopback": True,
        "live_ports": "",
        "live_origin": url,
        "live_streams": 1,
        **settings,
    }
    environment = {**os.environ, "STORAGE_EMULATOR_HOST": storage, "PYTHONUNBUFFERED": "1"}
    environment |= {f"DEFACER_{name.upper()}": str(value) for name, value in values.items()}
    log = folder / "live.log"
    command = [sys.executable, "-m", "defacer.web.live", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until(
                lambda: process.poll() is not None or is_http_ready(port), "it listened", START_SECONDS
            )
            assert process.poll() is None, log.read_text()
            yield Service(url, log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def camera(service: Service, begun: dict[str, str], clip: Clip) -> Iterator[ClientConnection]:
    """Sends the clip over and over, as the page sends its camera's frames."""
    stop = threading.Event()
    with service.socket(f"/streams/{begun['id']}/camera") as connection:
        connection.send(begun["key"])

        def send() -> None:
            try:
                for number, jpeg in enumerate(endlessly(clip)):
                    connection.send(struct.pack(">d", number + 1.0) + jpeg)
                    if stop.wait(1 / FRAMES_PER_SECOND):
                        return
            except ConnectionClosed:
                return

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield connection
        finally:
            stop.set()
            thread.join(60)


def watched(service: Service, name: str) -> Iterator[bytes | dict[str, Any]]:
    """What a watching page gets: JPEGs, and how it goes."""
    with service.socket(f"/streams/{name}/watch") as connection:
        for message in connection:
            yield json.loads(message) if isinstance(message, str) else message[16:]


def parts(answer: requests.Response) -> Iterator[bytes]:
    """The JPEGs of a multipart answer."""
    left = b""
    for piece in answer.iter_content(16384):
        left += piece
        while (head := left.find(b"\r\n\r\n")) >= 0:
            length = int(re.search(rb"Content-Length: (\d+)", left[:head])[1])  # type: ignore[index]
            if len(left) < head + 4 + length + 2:
                break
            yield left[head + 4 : head + 4 + length]
            left = left[head + 4 + length + 2 :]


def until_it_works(attempt: Callable[[], requests.Response], seconds: float = 60) -> requests.Response:
    """The first answer that is no 429."""
    answers: list[requests.Response] = []

    def worked() -> bool:
        answers.append(attempt())
        return answers[-1].status_code != 429

    wait_until(worked, "there was room for a stream", seconds)
    return answers[-1]
