"""Run the fuzz harnesses on committed seeds, and on the same generated inputs each time."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defacer.engine.errors import VideoError
from defacer_emulator.errors import EmulatorUsageError
from defacer_emulator.uploading import Upload, check_upload
from tests.fuzz import harnesses
from tests.fuzz.harnesses import DOCUMENTS, HARNESSES

SEEDS = Path(__file__).with_name("seeds")
FILES = sorted(path for path in SEEDS.rglob("*") if path.is_file())
bounded = settings(max_examples=100, deadline=None, derandomize=True, database=None)

numbers = st.integers() | st.integers(-(2**70), 2**70) | st.floats()
leaves = st.none() | st.booleans() | numbers | st.text(max_size=40)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)
parts = (
    st.sampled_from(["", ".", "..", "channels", "videos", "targets", "c", "a.mp4", "A.MP4", "me.jpg"])
    | st.text()
)
object_names = st.lists(parts, max_size=7).map("/".join) | st.lists(parts, min_size=1, max_size=3).map(
    lambda path: "channels/c/videos/" + "/".join(path)
)


def read_seeds(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((SEEDS / name).iterdir())]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_seed_breaks_no_promise(path: Path) -> None:
    HARNESSES[path.parent.name](path.read_bytes())


def test_each_harness_has_seeds_and_vice_versa() -> None:
    assert {path.parent.name for path in FILES} == set(HARNESSES)


@pytest.mark.parametrize("name", HARNESSES)
@given(data=st.data())
@bounded
def test_no_generated_bytes_break_a_promise(name: str, data: st.DataObject) -> None:
    """Try arbitrary bytes, and seeds with a replaced section."""
    seed = data.draw(st.sampled_from(read_seeds(name)))
    start = data.draw(st.integers(0, len(seed)))
    section = data.draw(st.binary(max_size=16))
    end = data.draw(st.integers(start, min(start + 16, len(seed))))
    HARNESSES[name](data.draw(st.sampled_from([section, seed[:start] + section + seed[end:]])))


def slots(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every value's container and key in a document."""
    for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
        yield document, key
        if isinstance(value, dict | list):
            yield from slots(value)


@pytest.mark.parametrize("number", range(len(DOCUMENTS)), ids=lambda number: DOCUMENTS[number].__name__)
@given(data=st.data())
@bounded
def test_document_with_any_value_is_accepted_or_rejected(number: int, data: st.DataObject) -> None:
    found = json.loads((SEEDS / "document" / DOCUMENTS[number].__name__).read_bytes()[1:])
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(list(slots(found))))
        holder[key] = data.draw(values)
    body = json.dumps(found).encode()
    harnesses.document(bytes([number]) + body)
    harnesses.message(body)
    harnesses.policy(body)


@given(body=values, attributes=values)
@bounded
def test_push_with_any_value_is_accepted_or_rejected(body: Any, attributes: Any) -> None:
    push = json.loads((SEEDS / "push" / "upload").read_bytes())
    harnesses.push(json.dumps(body).encode())
    for change in ({"attributes": attributes}, {"data": body}, {"messageId": body}):
        changed = copy.deepcopy(push)
        changed["message"] |= change
        harnesses.push(json.dumps(changed).encode())


@given(fields=st.dictionaries(st.sampled_from([*harnesses.manifest.Policy.model_fields, "more"]), values))
@bounded
def test_policy_with_any_value_is_accepted_or_rejected(fields: dict[str, Any]) -> None:
    harnesses.policy(json.dumps(fields).encode())


@given(name=object_names)
@settings(bounded, max_examples=500)
def test_no_object_name_escapes_its_channel(name: str) -> None:
    harnesses.name(name.encode("utf-8", "surrogatepass"))


@given(
    name=st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=60),
    channel=st.text(max_size=20),
)
@settings(bounded, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_file_with_any_name_is_uploaded_or_rejected(tmp_path: Path, name: str, channel: str) -> None:
    if name in (".", "..") or any("\ud800" <= character <= "\udfff" for character in name):
        return
    file = tmp_path / name
    file.write_bytes(b"\0\0\0\x18ftypmp42")
    try:
        check_upload(Upload(file, channel))
    except (EmulatorUsageError, VideoError):  # VideoError: the name ends as a picture's does
        return
    harnesses.name(f"channels/{channel}/videos/{name}".encode())
    assert not {channel, name} & {".", "..", ""}
