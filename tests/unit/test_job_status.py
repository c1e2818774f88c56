"""The status that the commands derive from a job's objects."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from defacer.commands.jobs import job_table
from defacer.commands.jobs.waiting import describe_progress, describe_stage
from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.lifecycle.job_status import JobStatus, read_job_status
from defacer.pipeline.storage import object_names
from tests.clips import write_clip
from tests.cloud import Buckets
from tests.planned import Planned, do_segment, find_segment, link_job, plan_job


@pytest.fixture
def planned(buckets: Buckets, tmp_path: Path) -> Planned:
    return plan_job(buckets, write_clip(tmp_path / "walk.mp4"))


def test_progress_counts_each_segment_once_per_step(buckets: Buckets, planned: Planned) -> None:
    work = buckets.client.bucket(buckets.work)
    shown = []

    def look() -> JobStatus:
        view = read_job_status(planned.job, planned.manifest.source.name)
        shown.append((view.state, describe_stage(view), round(describe_progress(view)[0] or 0, 3)))
        return view

    look()
    find_segment(buckets, planned, 1)
    look()
    find_segment(buckets, planned, 0)
    look()
    link_job(buckets, planned)
    work.delete_blobs(
        list(buckets.client.list_blobs(work, prefix=object_names.segment_detections_prefix(planned.job)))
    )
    look()
    do_segment(buckets, planned, 0)
    look()
    do_segment(buckets, planned, 1)
    assert not look().is_over
    published = Published(job=planned.job, result=None, report="r")
    buckets.put(buckets.work, object_names.published(planned.job), published.model_dump_json().encode())
    work.delete_blobs(list(buckets.client.list_blobs(work, prefix=object_names.segments_prefix(planned.job))))
    view = read_job_status(planned.job, planned.manifest.source.name)

    assert shown == [
        ("planned", "detecting faces 0/2", 0),
        ("planned", "detecting faces 1/2", 0.3),
        ("detected", "linking tracks", 0.6),
        ("redacting", "redacting faces 0/2", 0.6),
        ("redacting", "redacting faces 1/2", 0.795),
        ("redacted", "joining", 0.99),
    ]
    assert (view.state, view.done, view.segments, describe_progress(view)) == ("finalized", 2, 2, (1.0, ""))


def test_status_shows_the_same_share_as_wait_and_console(buckets: Buckets, planned: Planned) -> None:
    started = datetime.now(UTC) - timedelta(hours=1)
    find_segment(buckets, planned, 1)
    view = read_job_status(planned.job, planned.manifest.source.name)
    assert job_table._progress(view, started).startswith("30 %")
    assert view.progress(datetime.now(UTC)).share == describe_progress(view)[0] == 0.3
    assert job_table._progress(view, started + timedelta(hours=2)) == "-"  # stopped with an earlier emulator


def test_upload_without_a_manifest_waits_for_planning(buckets: Buckets) -> None:
    view = read_job_status("0" * 20, "channels/street/videos/walk.mp4")
    assert (view.state, describe_stage(view), *describe_progress(view)) == ("uploaded", "planning", None, "")
