"""Other decisions in a document of faces, a line at a time: all of a long video's faces would fill the memory."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from defacer.engine.errors import EngineError
from defacer.engine.tracking.face_report import (
    BY_HAND,
    COMPACT,
    FORGOTTEN,
    VERSION,
    VERSIONS,
    Faces,
    require_known_recognizer,
)

LOOKS = b'"looks":['


@dataclass(frozen=True)
class EditedReport:
    """What `Faces.to_bytes` would give after `decided_anew`.

    `people` are named in it. `strangers` are the kept tracks of people who are not among those that may be kept.
    """

    document: bytes = field(repr=False)
    people: tuple[str, ...]
    strangers: tuple[int, ...]


def with_decisions(document: bytes, decisions: Mapping[int, str], known: Collection[str]) -> EditedReport:
    """The faces of `document` with other decisions for these tracks; all others stay as they are.

    Only the people in `known` may be kept by their names; a hidden track loses any other name. Raises EngineError
    for a track that is not there, and for what is no document of faces.
    """
    if b"\n" not in document:
        document = _in_lines(document)
    first, *lines = document.split(b"\n")
    head = _parsed_head(first)
    if decisions and head.get("warnings"):  # they end when a person decides
        first = json.dumps({**head, "warnings": []}, separators=COMPACT).encode()[: -len("]}")]
    if not lines or lines.pop() != b"]}":
        raise EngineError("it is not a report of faces: its end is missing.")
    left, people, strangers = set(decisions), set[str](), []

    def rewritten() -> Iterator[bytes]:
        for line in lines:
            head, found, looks = line.partition(LOOKS)
            track = _head_of(head)
            if not found:
                raise EngineError("it is not a report of faces: a track has no looks.")
            left.discard(track["id"])
            before = dict(track)
            if track["reason"] == FORGOTTEN and decisions.get(track["id"]) == "keep":
                strangers.append(track["id"])  # asked for before they were forgotten, or in spite of it
            elif track["id"] in decisions:
                track |= {
                    "decision": decisions[track["id"]],
                    "reason": BY_HAND,
                    "strangers_per_10000": None,
                }
            if track["person"] is not None and track["person"] not in known:
                if track["decision"] == "keep":
                    strangers.append(track["id"])
                else:
                    track["person"] = None
            if track["person"] is not None:
                people.add(track["person"])
            yield line if track == before else _line(track) + found + looks

    made = b"\n".join([first, *rewritten(), b"]}"])
    if left:
        numbers = ", ".join(map(str, sorted(left)))
        raise EngineError(f"its report has no track {numbers}; it has {len(lines)} tracks.")
    return EditedReport(made, tuple(sorted(people)), tuple(strangers))


def _in_lines(document: bytes) -> bytes:
    """Some were written without line breaks, by whoever took a name out of a report."""
    try:
        return Faces.from_json(json.loads(document)).to_bytes()
    except (ValueError, RecursionError) as error:
        raise EngineError("it is not a report of faces.") from error


def _parsed_head(first: bytes) -> dict[str, Any]:
    """Raises EngineError unless it is that of a version that can be read."""
    try:
        head = json.loads(first + b"]}")
        version = head["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EngineError("it is not a report of faces.") from error
    if version not in VERSIONS or not isinstance(head, dict):
        raise EngineError(f"the report is of version {version}, this program reads up to version {VERSION}.")
    require_known_recognizer(head.get("recognizer"))
    return head


def _head_of(head: bytes) -> dict[str, Any]:
    """A track without its looks."""
    try:
        track = json.loads(head.removesuffix(b",") + b"}")
        if isinstance(track, dict) and isinstance(track["id"], int) and track["decision"] in ("keep", "hide"):
            track["person"], track["reason"]
            return track
    except (ValueError, KeyError, RecursionError) as error:
        raise EngineError("it is not a report of faces: a line is no track.") from error
    raise EngineError("it is not a report of faces: a line is no track.")


def _line(track: dict[str, Any]) -> bytes:
    return json.dumps(track, separators=COMPACT).encode()[:-1] + b","
