"""JSON lines for Cloud Logging on standard output, with function, job and segment on each.

A line names ids only, never an object, a person or a face. So an error is logged by its class, its code and
the place in the code that raised it: its message may hold a name, and belongs into `failed.json` alone. What other
libraries log goes the same way: which of them, and where in it, because their messages name addresses and objects.
Fields that Cloud Logging reads itself: https://cloud.google.com/logging/docs/structured-logging
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
_bound: ContextVar[Mapping[str, str | int]] = ContextVar("defacer_log_fields", default={})  # noqa: B039 - never changed


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON; the fields bound to this context and the record's own go with it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        line.update(_bound.get())
        line.update(getattr(record, "fields", {}))
        return json.dumps(line, ensure_ascii=False, default=str)


class _OthersFormatter(logging.Formatter):
    """What another library logs, without what it says."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "message": "a library logged something; what it said may hold names and is left out",
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            **_bound.get(),
            "logger": record.name,
            "place": f"{record.filename}:{record.lineno} {record.funcName}",
        }
        if record.exc_info and record.exc_info[1] is not None:
            line.update(_describe(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False, default=str)


class _Output(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stdout` is now, not to what it was when logging was set up."""

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """The base class sets it once; there is nothing to keep."""


def configure() -> None:
    """Send this product's log lines to standard output as JSON: at the first request, not at import.

    Other libraries' warnings too, without their messages; else Python prints those as they are.
    """
    with _configuring:  # the first requests may be two at once, and two handlers write each line twice
        if any(isinstance(handler, _Output) for handler in LOGGER.handlers):  # a command's is no output
            return
        handler = _Output()
        handler.setFormatter(JsonFormatter())
        LOGGER.addHandler(handler)
        LOGGER.setLevel(settings().log_level)
        LOGGER.propagate = False
        others = _Output()
        others.setLevel(logging.WARNING)
        others.setFormatter(_OthersFormatter())
        logging.getLogger().addHandler(others)


@contextmanager
def bound(**fields: str | int) -> Iterator[None]:
    """Put these fields on every line that is logged inside the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def info(message: str, **fields: object) -> None:
    LOGGER.info(message, extra={"fields": fields})


def error(message: str, problem: BaseException | None = None, **fields: object) -> None:
    """Log an ERROR line; `problem` adds the error's class, its code and where it came from."""
    LOGGER.error(message, extra={"fields": {**_describe(problem), **fields}})


def warning(message: str, problem: BaseException | None = None, **fields: object) -> None:
    """Log a WARNING line; `problem` adds the error's class, its code and where it came from."""
    LOGGER.warning(message, extra={"fields": {**_describe(problem), **fields}})


def _describe(problem: BaseException | None) -> dict[str, object]:
    """An error without its message: the chain of classes that led to it, and the frames of the last one."""
    if problem is None:
        return {}
    chain = [type(problem).__name__]
    cause = problem.__cause__
    while cause is not None:
        chain.append(type(cause).__name__)
        cause = cause.__cause__
    frames = traceback.extract_tb(problem.__traceback__)
    detail = problem.detail if isinstance(problem, PermanentError) else None  # others' may hold a name
    return {
        "error": " from ".join(chain),
        "code": getattr(problem, "code", None),
        **({"detail": detail} if detail else {}),
        "stack": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
