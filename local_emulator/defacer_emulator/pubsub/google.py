"""Find Google's Pub/Sub emulator on this machine (Java; part of the gcloud CLI)."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

INSTALL_HINT = (
    "gcloud components install pubsub-emulator, or apt-get install google-cloud-cli-pubsub-emulator; and Java"
)

# For a short start: 1.3 instead of 1.9 s of processor time.
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_DEBIAN_ROOT = Path("/usr/lib/google-cloud-sdk")
_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


def find_google_emulator(jar: Path | None = None) -> list[str] | None:
    """Return the command that runs Google's emulator, or None if the emulator or Java is not installed.

    Add `--host=HOST` and `--port=PORT`, each as one argument: with `--port PORT` the emulator ends with a
    NumberFormatException. It does not support port 0, prints no ready line, and listens after about 2 s.
    With `jar`, use this file instead of a search. Raises FileNotFoundError if the file does not exist.
    """
    if jar is not None and not jar.is_file():
        raise FileNotFoundError(f"The Pub/Sub emulator {jar} does not exist. Install it: {INSTALL_HINT}.")
    java = shutil.which("java")
    found = jar or next(_jars(), None)
    return [java, *JAVA_OPTIONS, "-jar", str(found)] if java and found else None


def _jars() -> Iterator[Path]:
    """Yield the jars of every SDK on this machine; those of one SDK with the newest first."""
    gcloud = shutil.which("gcloud")
    roots = [Path(gcloud).resolve().parent.parent] if gcloud else []
    for root in dict.fromkeys([*roots, _DEBIAN_ROOT]):
        yield from sorted(root.glob(_JARS), key=_version, reverse=True)


def _version(jar: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", jar.name)]
