"""Log lines are JSON and never contain the text of an error."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings as real_settings


@pytest.fixture
def lines(environment: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> Callable[[], list[Any]]:
    log.configure()
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_line_is_json_with_its_bound_fields(lines: Callable[[], list[Any]]) -> None:
    with log.bind_fields(function="worker", job="j"):
        with log.bind_fields(segment=3):
            log.info("done", looks=7)
        log.warning("next")
    log.info("last")
    first, second, third = lines()
    assert first["time"].endswith("+00:00")
    assert {key: first[key] for key in first if key != "time"} == {
        "severity": "INFO", "message": "done", "function": "worker", "job": "j", "segment": 3, "looks": 7
    }  # fmt: skip
    assert (second["severity"], second["job"], "segment" in second) == ("WARNING", "j", False)
    assert "function" not in third


def test_error_is_logged_by_class_code_and_place_only(
    lines: Callable[[], list[Any]],
) -> None:
    try:
        try:
            raise ValueError("gs://intake/channels/ada/videos/secret.mp4")
        except ValueError as cause:
            raise PermanentError("bad-policy", "gs://intake/channels/ada/policy.json is broken") from cause
    except PermanentError as error:
        log.error("the job failed", error)
    (line,) = lines()
    assert line["error"] == "PermanentError from ValueError"
    assert line["code"] == "bad-policy"
    assert line["stack"][-1].startswith("test_log.py:")
    assert "ada" not in json.dumps(line)


def test_detail_is_logged_for_permanent_errors_only(lines: Callable[[], list[Any]]) -> None:
    log.error("failed", PermanentError("bad-object", "Ada can't be read.", detail="not a valid Manifest"))
    log.error("failed", HTTPException(404, "Ada is not in this channel."))
    ours, others = lines()
    assert ours["detail"] == "not a valid Manifest"
    assert "Ada" not in json.dumps([ours, others])


def test_configuring_twice_writes_each_line_once(lines: Callable[[], list[Any]]) -> None:
    log.configure()
    log.info("once")
    assert len(lines()) == 1


def test_concurrent_configuration_writes_each_line_once(
    lines: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log.LOGGER, "handlers", [])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    start = Barrier(8)
    level = real_settings().log_level

    def settings() -> SimpleNamespace:
        sleep(0.01)  # the other threads enter during this call
        return SimpleNamespace(log_level=level)

    def configure(_: int) -> None:
        start.wait()
        log.configure()

    monkeypatch.setattr(log, "settings", settings)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(configure, range(8)))
    log.info("once")
    assert len(lines()) == 1
    assert len(log.LOGGER.handlers) == len(logging.getLogger().handlers) == 1


def test_library_warning_is_logged_without_its_text(lines: Callable[[], list[Any]]) -> None:
    with log.bind_fields(job="j"):
        try:
            raise ValueError("gs://intake/channels/ada/videos/secret.mp4")
        except ValueError:
            logging.getLogger("urllib3.connectionpool").warning(
                "retrying %s", "/o/channels%2Fada", exc_info=True
            )
        logging.getLogger("google.auth").info("not even that")
    (line,) = lines()
    assert (line["severity"], line["logger"], line["job"]) == ("WARNING", "urllib3.connectionpool", "j")
    assert line["error"] == "ValueError"
    assert line["place"].startswith("test_log.py:")
    assert "ada" not in json.dumps(line)


def test_earlier_command_suppresses_no_function_log_line(
    lines: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log.LOGGER, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log.configure()
    log.info("once")
    assert len(lines()) == 1
