"""One upload through all functions, each reached by the push that the one before it caused."""

from collections.abc import Callable
from pathlib import Path

from flask.testing import FlaskClient

from functions.pipeline import layout
from functions.pipeline.contracts import Report
from tests.clips import Clip, astronaut, encode_picture, frame_seconds, write_clip
from tests.cloud import Buckets, Topics, upload_push
from tests.planned import VIDEO


def test_an_upload_comes_back_with_every_frame(
    buckets: Buckets, topics: Topics, app: Callable[[str], FlaskClient], tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4", Clip(seconds=2, size=(480, 360), portrait=astronaut()))
    buckets.put(buckets.intake, "channels/street/targets/Eileen.jpg", encode_picture(astronaut(), ".jpg"))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert app("ingest").post("/", json=upload_push(ref)).status_code == 200
    tasks = topics.all(topics.segments)
    assert [app("worker").post("/", json=push).status_code for push in reversed(tasks)] == [200, 200]
    finished = topics.all(topics.segments_done)
    assert [app("merge").post("/", json=push).status_code for push in finished] == [200, 200]
    result = tmp_path / "result.mp4"
    result.write_bytes(buckets.get(buckets.output, "channels/street/walk.mp4"))
    assert frame_seconds(result) == frame_seconds(clip)
    report = Report.model_validate_json(buckets.get(buckets.output, "channels/street/walk.report.json"))
    assert report.targets == ("Eileen",)
    assert {track.decision for segment in report.segments for track in segment.tracks} == {"keep"}
    assert [event["type"] for event in topics.events()] == ["job.planned", "job.completed"]
    job = layout.job_id(ref.bucket, ref.name, ref.generation)
    assert buckets.names(buckets.work) == [layout.manifest(job), layout.published(job)]
