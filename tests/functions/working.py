"""What tests of the worker look at."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from functions.engine.video import read_frames
from functions.engine.write import write_segment
from functions.pipeline import layout
from functions.pipeline.contracts import Claim, Failed, SegmentReport, SegmentTask
from functions.worker.segment import Assignment, Concealed
from tests.cloud import Buckets
from tests.planned import Planned


def task(planned: Planned, index: int) -> SegmentTask:
    return SegmentTask(job=planned.job, index=index, manifest=planned.ref)


def report_of(buckets: Buckets, planned: Planned, index: int) -> SegmentReport:
    data = buckets.get(buckets.work, layout.segment_report(planned.job, index))
    return SegmentReport.model_validate_json(data)


def failure_of(buckets: Buckets, planned: Planned) -> Failed:
    return Failed.model_validate_json(buckets.get(buckets.work, layout.failed(planned.job)))


def segment_names(buckets: Buckets, planned: Planned) -> list[str]:
    return buckets.names(buckets.work, layout.segments_prefix(planned.job))


def put_claim(
    buckets: Buckets, planned: Planned, index: int, holder: str, seconds: float, attempts: int = 1
) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    claim = Claim(holder=holder, token="t", expires_at=expires_at, attempts=attempts)  # noqa: S106 - no secret
    data = claim.model_dump_json().encode()
    buckets.put(buckets.work, layout.segment_claim(planned.job, index), data)


def copy(todo: Assignment) -> Concealed:
    """What an engine does, without looking for faces."""
    times = []
    source = str(todo.out.parent / "source.mp4")
    Path(source).write_bytes(SOURCES[todo.manifest.job])
    with write_segment(str(todo.out), 30, None) as writer:
        for frame in read_frames(source, todo.segment.start, todo.segment.end):
            assert frame.pts is not None
            todo.keep_claim()
            times.append(frame.pts)
            writer.write(frame)
    return Concealed(tuple(times), 1, "centerface", "casia-webface", 0.6, ())


SOURCES: dict[str, bytes] = {}
