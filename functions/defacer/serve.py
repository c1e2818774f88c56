"""Serve a function in its container: `gunicorn "defacer.serve:application('worker')"`.

functions-framework's own server forks after it created the application. Models that were loaded before do not survive
the fork, and the port is open before new ones are loaded. Here gunicorn's only worker creates the application, and
`/health` responds when it is ready, and fails when the worker's GPU has failed. If the start fails, the server exits
with an error message.
"""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from flask import Flask
from functions_framework import create_app
from gunicorn.errors import AppImportError

from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import SettingsError, settings

HEALTH = "/health"


def application(name: str) -> Flask:
    """Return the application of a function. Validate the settings and, if they say so, load the models first."""
    try:
        settings()
        log.configure()
        source = Path(__file__).parent / name / "main.py"
        app: Flask = create_app(name, str(source))  # type: ignore[no-untyped-call]
        check_health = _prepare_worker() if name == "worker" else lambda: None
    except (SettingsError, PermanentError) as error:
        raise AppImportError(str(error)) from error

    def health() -> tuple[str, HTTPStatus]:
        try:
            check_health()
        except RetryableError as error:
            return str(error), HTTPStatus.SERVICE_UNAVAILABLE
        return "ready", HTTPStatus.OK

    app.add_url_rule(HEALTH, "health", health, methods=["GET"])
    return app


def _prepare_worker() -> Callable[[], None]:
    """Load the models if the settings say so, and return the worker's own health check."""
    from defacer.worker import engine_adapter

    if settings().preload_models:
        engine_adapter.preload_models()
    engine_adapter.log_hardware()
    return engine_adapter.require_computing_gpu
