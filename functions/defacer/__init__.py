"""De-facer hides every face in a video except the faces of named people. Importing it loads no other module.

`redact`, `render`, `Report`, `Options` and `EngineError` are the Python API. All other names can change.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defacer.engine.errors import EngineError as EngineError
    from defacer.engine.file_report import Report as Report
    from defacer.engine.options import Options as Options
    from defacer.engine.redact_file import redact as redact
    from defacer.engine.redact_file import render as render

_MODULES = {
    "EngineError": "defacer.engine.errors",
    "Options": "defacer.engine.options",
    "Report": "defacer.engine.file_report",
    "redact": "defacer.engine.redact_file",
    "render": "defacer.engine.redact_file",
}
__all__ = tuple(_MODULES)


def __getattr__(name: str) -> object:
    """Load a name of the API on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'defacer' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
