"""The job status that `status` and `drop` derive from a job's objects."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.storage import object_names
from defacer_emulator.commands import status
from defacer_emulator.job_reader import JobReader
from defacer_emulator.resources import Resources
from defacer_emulator.waiting import describe_progress, describe_stage
from tests.clips import write_clip
from tests.cloud import Buckets
from tests.planned import Planned, do_segment, find_segment, link_job, plan_job


@pytest.fixture
def resources() -> Resources:
    return Resources(f"test-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def emulated(buckets: Buckets, resources: Resources) -> Buckets:
    """Return buckets with the names that the emulator uses."""
    for name in resources.buckets:
        buckets.client.create_bucket(name)
    return Buckets(buckets.client, *resources.buckets)


@pytest.fixture
def reader(emulated: Buckets, resources: Resources) -> JobReader:
    return JobReader(emulated.client, resources)


@pytest.fixture
def planned(emulated: Buckets, tmp_path: Path) -> Planned:
    return plan_job(emulated, write_clip(tmp_path / "walk.mp4"))


def test_progress_counts_each_segment_once_per_step(
    emulated: Buckets, reader: JobReader, planned: Planned
) -> None:
    work = emulated.client.bucket(emulated.work)
    shown = []

    def look() -> JobStatus:
        view = reader.follow(planned.job, planned.manifest.source.name)
        shown.append((view.state, describe_stage(view), round(describe_progress(view)[0] or 0, 3)))
        return view

    look()
    find_segment(emulated, planned, 1)
    look()
    find_segment(emulated, planned, 0)
    look()
    link_job(emulated, planned)
    work.delete_blobs(
        list(emulated.client.list_blobs(work, prefix=object_names.segment_detections_prefix(planned.job)))
    )
    look()
    do_segment(emulated, planned, 0)
    look()
    do_segment(emulated, planned, 1)
    assert not look().is_over
    published = Published(job=planned.job, result=None, report="r")
    emulated.put(emulated.work, object_names.published(planned.job), published.model_dump_json().encode())
    work.delete_blobs(
        list(emulated.client.list_blobs(work, prefix=object_names.segments_prefix(planned.job)))
    )
    view = reader.follow(planned.job, planned.manifest.source.name)

    assert shown == [
        ("planned", "detecting faces 0/2", 0),
        ("planned", "detecting faces 1/2", 0.3),
        ("detected", "linking tracks", 0.6),
        ("redacting", "redacting faces 0/2", 0.6),
        ("redacting", "redacting faces 1/2", 0.795),
        ("redacted", "joining", 0.99),
    ]
    assert (view.state, view.done, view.segments, describe_progress(view)) == ("finalized", 2, 2, (1.0, ""))


def test_status_shows_the_same_share_as_drop_and_console(
    emulated: Buckets, reader: JobReader, planned: Planned
) -> None:
    started = datetime.now(UTC) - timedelta(hours=1)
    find_segment(emulated, planned, 1)
    view = reader.follow(planned.job, planned.manifest.source.name)
    assert status._progress(view, started).startswith("30 %")
    assert view.progress(datetime.now(UTC)).share == describe_progress(view)[0] == 0.3
    assert status._progress(view, started + timedelta(hours=2)) == "-"  # stopped with an earlier emulator


def test_upload_without_a_manifest_waits_for_planning(reader: JobReader) -> None:
    view = reader.follow("0" * 20, "channels/street/videos/walk.mp4")
    assert (view.state, describe_stage(view), *describe_progress(view)) == ("uploaded", "planning", None, "")
