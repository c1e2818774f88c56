"""The command that adds an extra to this installation of De-facer. Standard library only."""

import json
import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install_command(extra: str) -> str:
    """Return the command that installs an extra into this environment, or the base again for an empty name.

    De-facer is not on a package registry, where its name could belong to other code. So the command names the
    source of this installation, as pip and uv record it in `direct_url.json` (PEP 610).
    """
    name = f"defacer[{extra}]" if extra else "defacer"
    origin = _origin()
    if origin is None:
        folder = f"FOLDER[{extra}]" if extra else "FOLDER"
        return f"pipx install --force '{folder}' (FOLDER is the source of De-facer, or its wheel)"
    url = str(origin["url"])
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    what = [f"{name} @ {url}"]
    if origin.get("dir_info", {}).get("editable"):
        folder = url2pathname(urlsplit(url).path)
        what = ["--editable", f"{folder}[{extra}]" if extra else folder]
    # -P: Python must not import a `pip.py` of the current folder.
    return shlex.join([sys.executable, "-P", "-m", "pip", "install", *what])


def _origin() -> dict[str, dict[str, str]] | None:
    """Return the content of `direct_url.json`. None if the package is not installed, or came from a registry."""
    try:
        text = distribution("defacer").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    return json.loads(text) if text else None
