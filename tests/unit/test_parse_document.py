"""JSON with a UTF-8 byte order mark is read like JSON without one. Other encodings are rejected."""

import codecs
from pathlib import Path

import pytest

from defacer.pipeline.channel import parse_policy
from defacer.pipeline.documents.base import EncodingError, ObjectRef, normalize_utf8, parse_document
from defacer.pipeline.documents.manifest import Policy, RerenderRequest
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.storage import object_names
from defacer.report.edits import Edits
from defacer_emulator.chaos.plan import Plan, read_plan
from defacer_emulator.uploading import Upload, check_upload
from tests.cloud import Environment

MARK = codecs.BOM_UTF8


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["{}", '{"mode": "blur"}', "[]", " "])
def test_json_in_another_encoding_is_rejected(encoding: str, text: str) -> None:
    with pytest.raises(EncodingError, match="UTF-16 or UTF-32, UTF-8 is expected"):
        normalize_utf8(text.encode(encoding))


def test_only_one_leading_byte_order_mark_is_removed() -> None:
    assert normalize_utf8(MARK + b"{}") == normalize_utf8(b"{}") == b"{}"
    assert normalize_utf8(MARK + MARK + b"{}") == MARK + b"{}"
    assert normalize_utf8(b"") == b""


def test_policy_and_request_with_a_mark_are_read(environment: Environment) -> None:
    environment(intake_bucket="intake")
    assert parse_policy(MARK + b'{"mode": "solid"}', "it") == Policy(mode="solid")
    source = ObjectRef(bucket="intake", name="channels/street/videos/walk.mp4", generation=1)
    request = RerenderRequest(source=source, edits=Edits(decisions={1: "keep"}))
    data = MARK + request.model_dump_json().encode()
    assert parse_document(RerenderRequest, data) == request
    name = object_names.rerender_request(source)
    assert (
        rerender_request.parse_request(data, ObjectRef(bucket="intake", name=name, generation=1)) == request
    )
    with pytest.raises(PermanentError, match="can't be read"):
        rerender_request.parse_request(
            request.model_dump_json().encode("utf-16"), ObjectRef(bucket="intake", name=name, generation=1)
        )


def test_drop_accepts_a_policy_with_a_mark_but_not_utf_16(tmp_path: Path) -> None:
    video, policy = tmp_path / "walk.mp4", tmp_path / "policy.json"
    video.write_bytes(b"\0\0\0\x18ftypmp42")
    policy.write_text('{"mode": "solid"}', encoding="utf-8-sig")
    check_upload(Upload(video, "street", policy=policy))
    policy.write_text('{"mode": "solid"}', encoding="utf-16")
    with pytest.raises(PermanentError, match=r"policy.json: it is encoded in UTF-16 .* Save it as UTF-8"):
        check_upload(Upload(video, "street", policy=policy))


def test_fault_plan_with_a_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(Plan(seed=7).model_dump_json(), encoding="utf-8-sig")
    assert read_plan(str(file)).seed == 7
