"""One upload through all functions. Each function gets the pushes that the functions before it caused."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.storage import object_names
from tests.clips import Clip, Picture, admiral, astronaut, encode_picture, frame_seconds, write_clip
from tests.cloud import Buckets, Topics, upload_push
from tests.engine.copied_videos import equal_frames
from tests.planned import VIDEO

App = Callable[[str], FlaskClient]


def run(app: App, topics: Topics, ref: ObjectRef) -> None:
    """Deliver every message twice, the latest of a topic first, until no new message is published."""
    pushes = [("ingest", upload_push(ref))]
    seen = {topics.segments: 0, topics.segments_done: 0}
    while pushes:
        for function, push in reversed(pushes):
            assert [app(function).post("/", json=push).status_code for _ in range(2)] == [200, 200]
        pushes = []
        for topic, function in ((topics.segments, "worker"), (topics.segments_done, "merge")):
            arrived = topics.all(topic)[seen[topic] :]
            seen[topic] += len(arrived)
            pushes += [(function, push) for push in arrived]


@pytest.mark.parametrize("portrait", [astronaut, admiral])
def test_upload_is_published_with_only_the_target_visible(
    portrait: Callable[[], Picture],
    buckets: Buckets,
    topics: Topics,
    app: App,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = write_clip(tmp_path / "walk.mp4", Clip(seconds=2, size=(480, 360), portrait=portrait()))
    buckets.put(buckets.intake, "channels/street/targets/Eileen.jpg", encode_picture(astronaut(), ".jpg"))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    run(app, topics, ref)
    result = tmp_path / "result.mp4"
    result.write_bytes(buckets.get(buckets.output, "channels/street/walk.mp4"))
    assert frame_seconds(result) == frame_seconds(clip)
    report = JobReport.from_bytes(buckets.get(buckets.output, "channels/street/walk.report.jsonl"))
    assert report.targets == ("Eileen",)
    assert [segment.frames for segment in report.segments] == [28, 22]
    # One face is one track, across the segments.
    (track,) = report.tracks
    kept = portrait is astronaut
    assert (track.decision, track.person) == (("keep", "Eileen") if kept else ("hide", None))
    assert {event["type"] for event in topics.events()} == {"job.planned", "job.completed"}
    assert {event["id"] for event in topics.events()} == {f"{report.job}-planned", f"{report.job}-completed"}
    job = object_names.job_of(ref)
    stays = [object_names.manifest(job), object_names.published(job), object_names.verdict(job)]
    assert buckets.names(buckets.work, object_names.JOBS) == stays
    assert_states_balance(
        [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]
    )


def test_groups_that_show_only_the_target_are_copied(
    buckets: Buckets, topics: Topics, app: App, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4", Clip(seconds=2, size=(480, 360), portrait=astronaut()))
    buckets.put(buckets.intake, "channels/street/targets/Eileen.jpg", encode_picture(astronaut(), ".jpg"))
    buckets.put(buckets.intake, "channels/street/policy.json", b'{"copy_untouched": true}')
    run(app, topics, buckets.put(buckets.intake, VIDEO, clip))
    result = tmp_path / "result.mp4"
    result.write_bytes(buckets.get(buckets.output, "channels/street/walk.mp4"))
    # Both segments have frames of the group from frame 20 on.
    assert equal_frames(clip, result) == [*range(20), *range(30, 50)]
    report = JobReport.from_bytes(buckets.get(buckets.output, "channels/street/walk.report.jsonl"))
    assert report.copied_frames == 40


def assert_states_balance(lines: list[dict[str, Any]]) -> None:
    """The dashboard's states: a job enters and leaves each of them once, although every message is duplicated."""
    said = Counter(line["message"] for line in lines)
    assert [said[once] for once in ("planned", "linked", "joined", "published")] == [1, 1, 1, 1]
    segments = {line["message"]: line["segments"] for line in lines if "segments" in line}
    assert segments["planned"] == said["segment detected"] == segments["linked"] == 2
    assert said["segment redacted"] == segments["joined"] == 2
