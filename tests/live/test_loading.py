"""The page is there before the models are, and says so."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import uvicorn

from defacer import engine_host
from defacer.web.live.app import application
from tests.live.service import Service
from tests.servers import wait_until


@contextmanager
def served() -> Iterator[str]:
    """The live page in this process; its address."""
    server = uvicorn.Server(uvicorn.Config(application(), host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "it listened", 60)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def test_the_page_says_that_models_are_being_loaded_and_a_stream_waits_for_them(
    environment: Callable[..., None], tmp_path: Path
) -> None:
    environment()
    with ThreadPoolExecutor() as pool, served_while_held() as (url, release):
        assert 'id="loading"' in requests.get(url, timeout=60).text
        loaded = pool.submit(requests.get, f"{url}/loaded", timeout=300)
        begun = pool.submit(Service(url, tmp_path).begin)
        for waiting in (loaded, begun):  # for what is held, however long
            with pytest.raises(TimeoutError):
                waiting.result(1)
        release()
        assert loaded.result(300).status_code == 204
        assert begun.result(300)["id"]
        assert 'id="loading"' not in requests.get(url, timeout=60).text


@contextmanager
def served_while_held() -> Iterator[tuple[str, Callable[[], None]]]:
    """The page, its models held up until the second is called."""
    engine_host.ALONE.acquire()
    try:
        with served() as url:
            yield url, engine_host.ALONE.release
    finally:
        if engine_host.ALONE.locked():
            engine_host.ALONE.release()


def test_where_it_is_to_be_warm_nobody_is_answered_before(environment: Callable[..., None]) -> None:
    environment(preload_models=True)
    with served() as url:
        assert 'id="loading"' not in requests.get(url, timeout=60).text
