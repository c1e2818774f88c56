"""Each limit is a setting. The error says the value, the limit and what to do."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections, SegmentDetections
from defacer.ingest import job_limits, plan_job
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.storage import object_names
from tests.clips import Clip, admiral, astronaut, encode_picture, write_clip
from tests.cloud import Buckets, Environment, Post, Topics, upload_push
from tests.functions.ingesting import POLICY, VIDEO, assert_failed, manifest_of
from tests.functions.linking import embeddings
from tests.functions.records import failure_of
from tests.planned import Planned, find_segment

LIMITS: dict[str, tuple[Any, ...]] = {
    # The setting, a value that the clip or its channel exceeds, the code, and parts of the message.
    "max_video_seconds": (1.9, "too-long", "has 2 s by its header, at most 2 s", "Cut it"),
    "max_video_bytes": (1_000, "too-large", "bytes, at most 1000 are allowed", "Cut it"),
    "merge_megabytes_per_second": (
        0.00001,
        "too-large",
        "bytes, which take about",
        "s to join; at most 540 s are allowed",
        "Cut it into parts",
    ),
    "max_frame_pixels": (
        320 * 180 - 1,
        "too-large",
        "frames of 320x180, at most 57599 pixels",
        "Export it smaller",
    ),
    "max_video_megapixels": (
        2,
        "too-large",
        "has about 50 frames of 320x180, which are 3 megapixels; at most 2 are allowed",
        "Cut it into parts",
    ),
    "max_policy_bytes": (15, "bad-policy", "has 17 bytes, at most 15 are allowed", "Upload a smaller file"),
    "max_target_pictures": (1, "too-many-targets", "2 target pictures", "At most 1 of"),
    "max_targets_bytes": (
        400_000,
        "too-many-targets",
        "1 MiB in total",
        "At most 2 of 0 MiB",
        "Remove some",
    ),
    "max_picture_bytes": (1_000, "bad-target", "bytes, at most 1000 are allowed", "Upload a smaller file"),
    "max_picture_pixels": (
        300 * 300 - 1,
        "bad-picture",
        "has 300x300 pixels, at most 89999",
        "Use a smaller",
    ),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a video of 50 frames."""
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4")


def fill_channel(buckets: Buckets) -> None:
    buckets.put(buckets.intake, POLICY, b'{"mode": "solid"}')
    buckets.put(buckets.intake, "channels/street/targets/Eileen.png", encode_picture(astronaut()))
    buckets.put(buckets.intake, "channels/street/targets/Grace.png", encode_picture(admiral()))


@pytest.mark.parametrize("setting", LIMITS)
def test_exceeded_limit_fails_the_job_with_the_limit(
    setting: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path, environment: Environment
) -> None:
    value, code, *said = LIMITS[setting]
    fill_channel(buckets)
    environment(**{"max_target_pictures": 2, setting: value})
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, code, *said)


@pytest.mark.parametrize("name", ["walk.mp4", "walk.h264"])
def test_too_few_key_frames_fail_the_job(
    name: str, buckets: Buckets, topics: Topics, ingest: Post, tmp_path: Path, environment: Environment
) -> None:
    environment(segment_seconds=1, max_decode_times=2)
    clip = write_clip(tmp_path / name, Clip(seconds=6, keyframe_seconds=100, audio=False))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    said = "decoded 2.8 times, at most 2 times are allowed", "Export it with a key frame at least every 10 s"
    assert_failed(buckets, topics, ref, "too-few-key-frames", *said)


@pytest.mark.usefixtures("environment")
def test_key_frame_too_far_for_a_worker_is_refused() -> None:
    """A worker decodes 144 s of 4K at 60 frames per second in its share of the deadline."""
    header = VideoHeader(
        3840, 2160, "h264", Fraction(1, 1000), 0, 3600.0, 60.0, (0, *range(200_000, 3_600_000, 1000))
    )
    source = ObjectRef(bucket="intake", name=VIDEO, generation=1)
    with pytest.raises(
        PermanentError, match="no key frame for 199 s, with frames of 3840x2160 at most 145 s are"
    ):
        job_limits.require_key_frames(source, header, plan_job.cut_segments(header))


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("frames", "seconds"), [(100_000, 1.0), (61, 0.001), (None, 1.0), (60, 0.001), (480, 1.0)]
)
def test_many_frames_in_a_short_time_are_refused(frames: int | None, seconds: float) -> None:
    """They would count as one second of the channel's minutes, and cost many."""
    header = VideoHeader(320, 180, "h264", Fraction(1, 90_000), 0, seconds, 30.0, (0,), frames)
    source = ObjectRef(bucket="intake", name=VIDEO, generation=1)
    if frames in (100_000, 61):
        with pytest.raises(
            PermanentError, match=f"has {frames} frames in {seconds:.3g} s, at most 1000 per second"
        ):
            job_limits.require_header(source, header)
    else:
        job_limits.require_header(source, header)


def test_video_within_all_limits_is_planned(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path, environment: Environment
) -> None:
    fill_channel(buckets)
    environment(
        max_video_seconds=2.1, max_video_megapixels=3,
        max_video_bytes=clip.stat().st_size, max_frame_pixels=320 * 180, max_policy_bytes=17,
        max_target_pictures=2, max_targets_bytes=2**21, max_picture_bytes=2**20, max_picture_pixels=512 * 512,
        merge_megabytes_per_second=clip.stat().st_size / 539.9e6,
    )  # fmt: skip
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).targets == ("Eileen", "Grace")


@pytest.mark.parametrize("allowed", [5, 6])
def test_too_many_detections_fail_the_job_before_redaction(
    allowed: int, buckets: Buckets, topics: Topics, planned: Planned, merge: Post, environment: Environment
) -> None:
    environment(max_detections=allowed)
    face = DetectedFace(np.array([1, 1, 50, 50], np.float32), 0.9, 0.5)
    for index in range(2):
        name = find_segment(buckets, planned, index).name
        seen = SegmentDetections.from_bytes(buckets.get(buckets.work, name))
        times = planned.frames(index)[:3]
        samples = tuple(FrameDetections(pts, False, (face,)) for pts in times)
        buckets.put(buckets.work, name, replace(seen, samples=samples).to_bytes())
    assert merge(planned.done(1)) == 200
    if allowed == 6:
        assert object_names.faces(planned.job) in buckets.names(buckets.work)
        return
    failed = failure_of(buckets, planned.job)
    assert (failed.stage, failed.code) == ("merge", "too-many-faces")
    assert "6 detections in the first 2 of 2 segments, at most 5 are allowed. Cut it" in failed.message
    assert embeddings(buckets, planned) == []
    assert topics.all(topics.segments) == []
