"""Pictures that take long to decode fail their own job and delay no other channel."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
import requests
from werkzeug.serving import make_server

from defacer.engine.media.pictures import image_decoder, still_image
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import job_of
from tests.clips import astronaut, encode_picture
from tests.cloud import Buckets, Post, Topics, upload_push
from tests.functions.conftest import App
from tests.functions.ingesting import POLICY, VIDEO, assert_failed, manifest_of
from tests.hostile import progressive_jpeg

TARGET = "channels/street/targets/Faceless.jpg"
REPLACEMENT = "channels/street/replacement.png"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A picture that takes minutes to decode and is not recognized as such."""
    monkeypatch.setattr(still_image, "SCAN", None)  # so that it is not recognized
    return progressive_jpeg(5_000, 10_000)


@pytest.fixture
def address(app: App) -> Iterator[str]:
    """Serve ingest with a thread per request, as gunicorn does."""
    server = make_server("127.0.0.1", 0, app("ingest").application, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/"
    server.shutdown()
    thread.join()


def test_slow_picture_does_not_block_another_channel(
    address: str,
    slow: bytes,
    buckets: Buckets,
    topics: Topics,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The slow decode ends only after the other channel's job is planned."""
    monkeypatch.setattr(still_image, "MAX_DECODE_SECONDS", 600.0)
    at_work: Queue[int] = Queue()
    decode = image_decoder._DecoderProcess.decode

    def noted(self: Any, data: bytes, alpha: bool, seconds: float) -> Any:
        if data == slow:
            at_work.put(self._process.pid)
        return decode(self, data, alpha, seconds)

    monkeypatch.setattr(image_decoder._DecoderProcess, "decode", noted)
    buckets.put(buckets.intake, TARGET, slow)
    buckets.put(buckets.intake, "channels/other/targets/Eileen.png", encode_picture(astronaut()))
    hostile = buckets.put(buckets.intake, VIDEO, clip)
    other = buckets.put(buckets.intake, "channels/other/videos/walk.mp4", clip)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(requests.post, address, json=upload_push(hostile), timeout=300)
        pid = at_work.get(timeout=120)
        assert requests.post(address, json=upload_push(other), timeout=300).status_code == 200
        assert manifest_of(buckets, other).targets == ("Eileen",)
        assert not first.done()
        assert buckets.names(buckets.work, object_names.failed(job_of(hostile))) == []
        os.kill(pid, signal.SIGKILL)
        assert first.result(120).status_code == 200
    failed = buckets.json(buckets.work, object_names.failed(job_of(hostile)))
    assert failed["code"] == "bad-picture"
    assert failed["message"].startswith("targets/Faceless.jpg can't be decoded")


@pytest.mark.parametrize(("name", "code"), [(TARGET, "bad-picture"), (REPLACEMENT, "bad-replacement")])
def test_decode_timeout_fails_the_job_by_name(
    name: str,
    code: str,
    slow: bytes,
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(still_image, "MAX_DECODE_SECONDS", 0.2)
    buckets.put(buckets.intake, POLICY, b'{"mode": "image"}' if name == REPLACEMENT else b"{}")
    buckets.put(buckets.intake, name, slow)
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    said = f"{object_names.owner_name(name)} takes more than 0.2 s to decode"
    assert_failed(buckets, topics, ref, code, said, "Save it again as a baseline JPEG or as a PNG.")
