"""`defacer version`: print the versions of De-facer and of Python."""

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import typer

from defacer.commands.common.conventions import Json

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def version() -> str:
    """Return the version of the installed package, or "unknown" if the code runs without one."""
    try:
        return version_of("defacer")
    except PackageNotFoundError:
        return "unknown"


@app.command()
def print_versions(json_output: Json = False) -> None:
    """Print the versions of De-facer and of Python."""
    versions = {"defacer": version(), "python": platform.python_version(), "system": platform.platform()}
    if json_output:
        print(json.dumps(versions))
    else:
        print(f"defacer {versions['defacer']}, Python {versions['python']}, {versions['system']}")
