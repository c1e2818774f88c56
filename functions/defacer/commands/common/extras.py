"""The extras of the package `defacer`, and which of their packages are installed."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires

EXTRA = re.compile(r"""extra == ['"]([\w-]+)['"]""")
INCLUDED = re.compile(r"defacer\[([\w,-]+)\]")


def packages_of(extra: str) -> Iterator[str]:
    """Yield the names of the packages that an extra adds. The empty name is the base installation.

    Yields nothing if `defacer` itself is not installed as a package, such as in a container image.
    """
    try:
        lines = requires("defacer") or []
    except PackageNotFoundError:
        return
    for line in lines:
        requirement, _, marker = line.partition(";")
        if EXTRA.findall(marker) != ([extra] if extra else []):
            continue
        included = INCLUDED.match(requirement.replace(" ", ""))
        if included:
            for other in included[1].split(","):
                yield from packages_of(other)
        else:
            yield re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]


def missing_packages(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [name for name in packages_of(extra) if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
