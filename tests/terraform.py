"""Parse infra/*.tf into plain dictionaries: strings without their quotes, expressions as `${...}`."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import hcl2

from tests.servers import ROOT

INFRA = ROOT / "infra"


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1].replace('\\"', '"')
    return value


@cache
def documents() -> dict[str, dict[str, Any]]:
    """Return each file's content by name."""
    found = {path.name: plain(hcl2.loads(path.read_text())) for path in sorted(INFRA.glob("*.tf"))}
    assert found
    return found


def blocks(kind: str) -> Iterator[tuple[str, Any]]:
    """Yield the labels (joined by dots) and the body of every block of this kind."""
    for document in documents().values():
        for block in document.get(kind, []):
            if kind == "locals":
                yield "", block
                continue
            for label, body in block.items():
                if kind in ("resource", "data"):
                    yield from ((f"{label}.{name}", inner) for name, inner in body.items())
                else:
                    yield label, body


def resources(kind: str) -> dict[str, Any]:
    """Return the resources of a type, by name."""
    found = {label.split(".")[1]: body for label, body in blocks("resource") if label.split(".")[0] == kind}
    assert found, f"infra has no {kind}"
    return found


def local(name: str) -> Any:
    (value,) = (body[name] for _, body in blocks("locals") if name in body)
    return value


def one(block: list[Any]) -> Any:
    (value,) = block
    return value


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a value, including keys."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *strings(item))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value
