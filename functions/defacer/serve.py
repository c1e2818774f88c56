"""A function as a server runs it in a container: `gunicorn "defacer.serve:application('worker')"`.

functions-framework's own server makes the application and forks then: models that are loaded before do not survive
that, and the port is open before they are. Here the server's one worker makes the application, and `/health` answers
when it is ready to work. A server of which that fails ends, with a sentence.
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
    """The function of that name, its settings checked and, if they say so, its models loaded."""
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
