"""Write JSON lines for Cloud Logging to standard output, with the function, job and segment.

A line contains ids only, never the name of an object or a person. An error is therefore logged by its class, its code
and its place in the code: its message can contain a name, and belongs into `failed.json` only. Lines of other libraries
are reduced to the library and the place, because their messages name addresses and objects. Cloud Logging's own fields:
https://cloud.google.com/logging/docs/structured-logging
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TextIO

from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings

LOGGER = logging.getLogger("defacer")
_configuring = Lock()
_fields: ContextVar[Mapping[str, str | int]] = ContextVar("defacer_log_fields", default={})  # noqa: B039 - never mutated


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON, with the fields of this context and of the record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        line.update(_fields.get())
        line.update(getattr(record, "fields", {}))
        return json.dumps(line, ensure_ascii=False, default=str)


class _LibraryFormatter(logging.Formatter):
    """Format a record of another library without its message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "message": "message of a library, omitted because it can contain names",
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            **_fields.get(),
            "logger": record.name,
            "place": f"{record.filename}:{record.lineno} {record.funcName}",
        }
        if record.exc_info and record.exc_info[1] is not None:
            line.update(_describe(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False, default=str)


class _Output(logging.StreamHandler[TextIO]):
    """Write to the current `sys.stdout`, which a test can replace after logging was configured."""

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Ignore the value that the base class sets."""


def configure() -> None:
    """Write De-facer's log lines to standard output as JSON. Called at the first request, not at import.

    Warnings of other libraries are written without their messages. Otherwise Python prints the messages.
    """
    with _configuring:  # the first two requests can be simultaneous, and two handlers write each line twice
        if any(isinstance(handler, _Output) for handler in LOGGER.handlers):  # a command has another handler
            return
        handler = _Output()
        handler.setFormatter(JsonFormatter())
        LOGGER.addHandler(handler)
        LOGGER.setLevel(settings().log_level)
        LOGGER.propagate = False
        libraries = _Output()
        libraries.setLevel(logging.WARNING)
        libraries.setFormatter(_LibraryFormatter())
        logging.getLogger().addHandler(libraries)


@contextmanager
def bind_fields(**fields: str | int) -> Iterator[None]:
    """Add these fields to every line that is logged inside the block."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def info(message: str, **fields: object) -> None:
    LOGGER.info(message, extra={"fields": fields})


def error(message: str, problem: BaseException | None = None, **fields: object) -> None:
    """Log an ERROR line. `problem` adds the error's class, its code and its place."""
    LOGGER.error(message, extra={"fields": {**_describe(problem), **fields}})


def warning(message: str, problem: BaseException | None = None, **fields: object) -> None:
    """Log a WARNING line. `problem` adds the error's class, its code and its place."""
    LOGGER.warning(message, extra={"fields": {**_describe(problem), **fields}})


def _describe(problem: BaseException | None) -> dict[str, object]:
    """Describe an error without its message: the classes of its causes, and its stack."""
    if problem is None:
        return {}
    chain = [type(problem).__name__]
    cause = problem.__cause__
    while cause is not None:
        chain.append(type(cause).__name__)
        cause = cause.__cause__
    frames = traceback.extract_tb(problem.__traceback__)
    detail = (
        problem.detail if isinstance(problem, PermanentError) else None
    )  # other errors' details can contain a name
    return {
        "error": " from ".join(chain),
        "code": getattr(problem, "code", None),
        **({"detail": detail} if detail else {}),
        "stack": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
