"""The step "detect": its output, and that no embedding stays longer than needed."""

from pathlib import Path

import numpy as np
import pytest

from defacer.engine.recognition.gallery import Gallery
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.storage import object_names
from tests.clips import Clip, admiral, astronaut, encode_picture, write_clip
from tests.cloud import Buckets, Post, Topics, upload_push
from tests.functions.records import failure_of
from tests.functions.working import count_frames_done, made, work
from tests.planned import VIDEO, Planned, find_segment, link_job, plan_job
from tests.proxy import Proxy


def test_segment_detections_cover_every_frame_once(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    assert [worker(planned.task(index)) for index in (0, 1)] == [200, 200]
    assert [count_frames_done(buckets, planned, index) for index in (0, 1)] == [
        len(planned.frames(index)) for index in (0, 1)
    ]
    assert made(buckets, planned) == [object_names.segment_detections(planned.job, index) for index in (0, 1)]


@pytest.mark.parametrize("target", [True, False])
def test_faces_are_embedded_only_if_there_are_targets(
    target: bool, buckets: Buckets, topics: Topics, ingest: Post, worker: Post, tmp_path: Path
) -> None:
    if target:
        buckets.put(buckets.intake, "channels/street/targets/Eileen.png", encode_picture(astronaut()))
    clip = write_clip(tmp_path / "walk.mp4", Clip(seconds=1, size=(480, 360), portrait=admiral()))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    (push,) = topics.all(topics.segments)
    assert worker(push) == 200
    name = object_names.segment_detections(object_names.job_of(ref), 0)
    found = SegmentDetections.from_bytes(buckets.get(buckets.work, name))
    faces = [face for sample in found.samples for face in sample.faces]
    assert len(faces) > 0
    assert any(face.embedding is not None for face in faces) == target


def test_gallery_of_another_recognizer_version_fails_the_job(
    buckets: Buckets, topics: Topics, worker: Post, tmp_path: Path
) -> None:
    old = Gallery(("Eileen",), np.eye(1, 128, dtype=np.float32), "sface/2020jan/1")
    planned = plan_job(buckets, write_clip(tmp_path / "walk.mp4"), gallery=old.to_bytes())
    assert worker(planned.task(0)) == 200
    assert failure_of(buckets, planned.job).message == (
        "walk.mp4: the target pictures were embedded by sface/2020jan/1, and the faces in the video by "
        "sface/2021dec/1. Upload the video again, so that one recognizer does both."
    )


def test_task_after_linking_is_acknowledged(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    link_job(buckets, planned)
    buckets.client.bucket(buckets.work).blob(planned.ref.name).delete()  # which is not read
    assert worker(planned.task(0)) == 200
    assert buckets.names(buckets.work) == [object_names.faces(planned.job)]
    assert topics.all(topics.segments_done) == []
    assert topics.events() == []


@pytest.mark.parametrize("end", ["linked", "failed"])
def test_late_segment_detections_are_deleted(
    end: str, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    """Another worker did the segment and the job continued or failed while this worker was stalled."""
    work(planned, 0, "slow", lambda _: bring_to(end, buckets, planned))
    assert made(buckets, planned) == []


@pytest.mark.parametrize("end", ["linked", "failed"])
def test_redelivery_deletes_output_of_a_dead_late_worker(
    end: str, buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    bring_to(end, buckets, planned)
    find_segment(buckets, planned, 0)
    assert worker(planned.task(0)) == 200
    assert made(buckets, planned) == []


def test_segment_linked_just_before_the_lease_leaves_no_detections(
    buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy
) -> None:
    linked: list[Planned] = []

    def link_concurrently(method: str, path: str) -> bool:
        if "segment-detections" in path and not linked:  # before the lease is written
            linked.append(link_job(buckets, planned))
        return False

    proxy.fails = link_concurrently
    work(planned, 0, "late")
    assert linked
    assert made(buckets, planned) == []


def test_error_of_a_late_worker_does_not_fail_the_job(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    def gone(_: object) -> None:
        link_job(buckets, planned)
        raise PermanentError("object-gone", "the gallery was deleted when the job was linked")

    with pytest.raises(RetryableError):
        work(planned, 0, "slow", gone)
    assert object_names.failed(planned.job) not in buckets.names(buckets.work)
    assert topics.events() == []


def test_failed_job_deletes_all_embeddings(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    buckets.put(buckets.work, object_names.gallery(planned.job, "ab" * 32), b"embeddings")
    find_segment(buckets, planned, 1)
    buckets.put(buckets.intake, VIDEO, b"a newer upload")
    assert worker(planned.task(0)) == 200
    assert buckets.names(buckets.work, object_names.gallery_prefix(planned.job)) == []
    assert made(buckets, planned) == []
    assert object_names.failed(planned.job) in buckets.names(buckets.work)


def bring_to(end: str, buckets: Buckets, planned: Planned) -> None:
    if end == "linked":
        link_job(buckets, planned)
    else:
        failure.fail_job(planned.job, "worker", PermanentError("poison-segment", "another segment's fault"))
