import json
from typing import Any

import pytest
from pydantic import ValidationError

from defacer.pipeline.channel import parse_policy
from defacer.pipeline.documents.base import ObjectRef, parse_document
from defacer.pipeline.documents.job_records import Lease
from defacer.pipeline.documents.manifest import Manifest, Policy, TimeRange, Video
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.json_lines import ReportError, dump_track, load_track
from defacer.report.tracks import Reason, TrackRecord

JOB = "0123456789abcdef0123"
REF = ObjectRef(bucket="b", name="n", generation=1)


def manifest(*segments: tuple[int | None, int | None]) -> Manifest:
    return Manifest(
        job=JOB,
        channel="c",
        source=REF,
        source_size=1,
        result="r",
        report="p",
        policy=Policy(),
        targets=(),
        gallery=None,
        replacement=None,
        video=Video(width=2, height=2, codec="h264", duration_seconds=None, time_base="1/25", start_pts=0),
        segments=tuple(TimeRange(start=start, end=end) for start, end in segments),
    )


def test_a_written_manifest_is_read_back() -> None:
    written = manifest((None, 10), (10, None))
    assert parse_document(Manifest, written.model_dump_json().encode()) == written


@pytest.mark.parametrize(
    "segments",
    [
        [(None, 10), (11, None)],
        [(None, 10), (9, None)],
        [(None, None), (None, None)],
        [(0, None)],
        [(None, 10)],
        [],
    ],
)
def test_segments_with_gaps_overlaps_or_closed_ends_are_refused(segments: list[Any]) -> None:
    with pytest.raises(ValidationError):
        manifest(*segments)


@pytest.mark.parametrize("times", [(5, 5), (6, 5)])
def test_an_empty_time_range_is_refused(times: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="must not be empty"):
        TimeRange(start=times[0], end=times[1])


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "blurr"},
        {"strength": 0.5},
        {"strength": float("nan")},
        {"color": "red"},
        {"match_threshold": 0},
        {"quality": 99},
        {"source_retention": "move"},
        {"modes": "blur"},
    ],
)
def test_a_policy_with_unknown_fields_or_values_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(fields)


def test_a_policy_recognizes_people_by_the_balanced_level() -> None:
    assert (Policy().recognition, Policy().match_threshold) == ("balanced", None)
    assert Policy.model_validate({"recognition": None}) == Policy()
    assert Policy().for_engine()["recognition"] == "balanced"


@pytest.mark.parametrize(
    "policy", [Policy(recognition="strict"), Policy(recognizer="sface", match_threshold=0.9)]
)
def test_a_stored_policy_is_read_as_it_was(policy: Policy) -> None:
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
    assert (policy.recognition is None) == (policy.match_threshold is not None)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"match_threshold": 0.9}, '"match_threshold" is 0.9 and "recognizer" is missing'),
        (
            {"recognizer": "sface", "match_threshold": 1.2},
            '"match_threshold" is 1.2, at most 1.05 is allowed for sface, so that at most 1 stranger in 1,000 is kept',
        ),
        (
            {"recognizer": "facenet-casia", "match_threshold": 0.97},
            "at most 0.75 is allowed for facenet-casia",
        ),
        (
            {"recognizer": "sface", "match_threshold": 0.9, "recognition": "balanced"},
            '"match_threshold" (0.9) and "recognition" ("balanced") are both set: remove one',
        ),
        (
            {"recognizer": "casia-webface"},
            "\"recognizer\" is 'casia-webface': input should be 'sface', 'facenet-casia'",
        ),
        (
            {"recognition": "loose"},
            "\"recognition\" is 'loose': input should be 'strict', 'balanced' or 'lenient'",
        ),
    ],
)
def test_a_distance_without_its_recognizer_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PermanentError) as raised:
        parse_policy(json.dumps(fields).encode(), "policy.json")
    assert str(raised.value).startswith("policy.json: ")
    assert sentence in str(raised.value)
    assert str(raised.value).endswith("Correct it and upload the video again.")


@pytest.mark.parametrize("job", ["", "x" * 20, "0123", JOB.upper(), "../../../../../../.."])
def test_a_job_id_is_twenty_hex_digits(job: str) -> None:
    with pytest.raises(ValidationError):
        SegmentTask(job=job, index=0, step="detect", manifest=REF)


def test_only_redact_messages_name_the_faces() -> None:
    assert SegmentTask(job=JOB, index=0, step="redact", manifest=REF, faces=REF).faces == REF
    with pytest.raises(ValidationError, match="required for the step"):
        SegmentTask(job=JOB, index=0, step="redact", manifest=REF)
    with pytest.raises(ValidationError, match="not allowed for"):
        SegmentDone(job=JOB, index=0, step="detect", manifest=REF, faces=REF)


def test_a_newer_version_is_retried() -> None:
    newer = {"version": 5, "job": JOB, "index": 0, "soon": "new"}
    with pytest.raises(RetryableError, match="version 5"):
        parse_document(SegmentTask, json.dumps(newer).encode())


def test_each_document_has_its_own_version() -> None:
    with pytest.raises(RetryableError, match="Manifest has version 99, this function supports up to"):
        parse_document(Manifest, b'{"version": 99}')
    with pytest.raises(ValidationError):
        parse_document(SegmentTask, b'{"version": 4}')


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"null", b"[]", b"{}", b'{"version": 0}', b'{"version": "3"}', b'{"version": true}'],
)
def test_invalid_documents_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="SegmentTask"):
        parse_document(SegmentTask, data)


def test_a_lease_with_negative_attempts_is_refused() -> None:
    with pytest.raises(ValidationError):
        Lease.model_validate_json(
            '{"holder": "1", "token": "t", "expires_at": "2026-01-01T00:00:00Z", "attempts": -1}'
        )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(number: str) -> None:
    track = TrackRecord(
        1, 0, 0, "hide", None, Reason.MANUAL, 0.5, None, None, CompactBoxes([(0, (1, 2, 3, 4))])
    )
    line = dump_track(track)
    assert load_track(line) == track
    for part in (b"0.5", b"4.0"):
        with pytest.raises(ReportError, match="a line is not a track"):
            load_track(line.replace(part, number.encode()))


def test_a_lease_needs_a_time_zone() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Lease.model_validate_json(
            '{"holder": "1", "token": "t", "expires_at": "2026-01-01T00:00:00", "attempts": 1}'
        )


@pytest.mark.parametrize("base", ["1/0", "0/1", "1", "-1/2", "\u0661/\u0662", "1/99999999999", "1/2\n"])
def test_a_time_base_is_a_fraction_above_zero(base: str) -> None:
    with pytest.raises(ValidationError, match="time_base"):
        Video(width=2, height=2, codec="h264", duration_seconds=None, time_base=base)
