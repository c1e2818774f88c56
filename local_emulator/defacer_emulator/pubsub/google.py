"""Where Google's own Pub/Sub emulator is on this machine (Java; part of the gcloud CLI)."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

INSTALL_HINT = (
    "gcloud components install pubsub-emulator, or apt-get install google-cloud-cli-pubsub-emulator; and Java"
)

_DEBIAN_ROOT = Path("/usr/lib/google-cloud-sdk")
_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


def find_google_emulator(jar: Path | None = None) -> list[str] | None:
    """The command that runs Google's emulator, or None where the emulator or Java is not installed.

    Add `--host=HOST` and `--port=PORT`, each as ONE argument: with `--port PORT` it ends with a
    NumberFormatException. It has no port 0, prints no ready line on stdout, and listens some 2 s later.
    `jar`: take this one and don't search. Raises FileNotFoundError if it is not there.
    """
    if jar is not None and not jar.is_file():
        raise FileNotFoundError(f"There is no Pub/Sub emulator at {jar}. To install it: {INSTALL_HINT}.")
    java = shutil.which("java")
    found = jar or next(_jars(), None)
    return [java, "-jar", str(found)] if java and found else None


def _jars() -> Iterator[Path]:
    """The jars of every SDK on this machine, within an SDK the newest first."""
    gcloud = shutil.which("gcloud")
    roots = [Path(gcloud).resolve().parent.parent] if gcloud else []
    for root in dict.fromkeys([*roots, _DEBIAN_ROOT]):
        yield from sorted(root.glob(_JARS), key=_version, reverse=True)


def _version(jar: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", jar.name)]
