"""Serve a function in its container: `gunicorn "defacer.serve:application('worker')"`.

functions-framework's own server forks after it created the application. Models that were loaded before do not survive
the fork, and the port is open before new ones are loaded. Here gunicorn's only worker creates the application, and
`/health` responds when it is ready. If the start fails, the server exits with an error message.
"""

from pathlib import Path

from flask import Flask
from functions_framework import create_app
from gunicorn.errors import AppImportError

from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import SettingsError, settings

HEALTH = "/health"


def application(name: str) -> Flask:
    """Return the application of a function. Validate the settings and, if they say so, load the models first."""
    try:
        settings()
        log.configure()
        source = Path(__file__).parent / name / "main.py"
        app: Flask = create_app(name, str(source))  # type: ignore[no-untyped-call]
        if name == "worker" and settings().preload_models:
            from defacer.worker.engine_adapter import preload_models

            preload_models()
    except (SettingsError, PermanentError) as error:
        raise AppImportError(str(error)) from error
    app.add_url_rule(HEALTH, "health", lambda: "ready", methods=["GET"])
    return app
