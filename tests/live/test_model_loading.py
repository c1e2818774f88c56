"""The live page opens before the models are loaded, and says so."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import uvicorn

from defacer.engine_host import HOST
from defacer.web.live.live_app import build_live_page
from tests.live.service import Service
from tests.servers import free_port, wait_until


@pytest.fixture(autouse=True)
def open_page_without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the page open as beside the emulator, in a process whose engine has loaded no models."""
    monkeypatch.setattr(HOST, "models_loaded", False)
    monkeypatch.setattr(HOST, "_loading", None)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")  # without it, the page requires users


@contextmanager
def serve_page(environment: Callable[..., None], **settings: object) -> Iterator[str]:
    """Serve the live page in this process and yield its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment(live_origins=url, **settings)
    server = uvicorn.Server(uvicorn.Config(build_live_page(), host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "the server listens", 60)
        yield url
    finally:
        server.should_exit = True
        thread.join(60)


def test_page_shows_that_models_load_and_a_stream_waits_for_them(
    environment: Callable[..., None], tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as pool, serve_page_with_locked_engine(environment) as (url, release):
        assert 'id="loading"' in requests.get(url, timeout=60).text
        loaded = pool.submit(requests.get, f"{url}/loaded", timeout=300)
        started = pool.submit(Service(url, tmp_path).start_stream)
        for waiting in (loaded, started):
            with pytest.raises(TimeoutError):
                waiting.result(1)
        release()
        assert loaded.result(300).status_code == 204
        assert started.result(300)["id"]
        assert 'id="loading"' not in requests.get(url, timeout=60).text


@contextmanager
def serve_page_with_locked_engine(
    environment: Callable[..., None],
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve the page while the models can't load. Yield its address and a function that lets them load."""
    HOST.lock.acquire()
    try:
        with serve_page(environment) as url:
            yield url, HOST.lock.release
    finally:
        if HOST.lock.locked():
            HOST.lock.release()


def test_preloading_service_answers_only_with_loaded_models(environment: Callable[..., None]) -> None:
    with serve_page(environment, preload_models=True) as url:
        assert 'id="loading"' not in requests.get(url, timeout=60).text
