"""From `upload` to a published video, on the emulator with the real functions."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.commands.app import main
from defacer.commands.common.deployment import Deployment
from defacer.commands.jobs import waiting
from defacer.pipeline import awaiting_review
from defacer.pipeline.documents.job_records import JobEvent
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.storage import object_names
from defacer.report.edits import Edits
from defacer.webhook.delivery import sign
from tests.clips import Clip, Picture, admiral, encode_picture, write_clip
from tests.clips import astronaut as portrait
from tests.demo_boxes import compute_demo_boxes
from tests.pipeline.conftest import (
    CLIP_RATE,
    CLIP_SECONDS,
    CLIP_SIZE,
    NOISE,
    WEBHOOK_SECRET,
    CommandResult,
    Pipeline,
)
from tests.pipeline.doubling import duplicate_messages
from tests.receiver import Call, Receiver
from tests.sentences import require_plain
from tests.servers import wait_until

FRAMES = round(CLIP_SECONDS * CLIP_RATE)
# The mean difference of gray values in a face's box. Another encoding changes little, redaction changes much.
MAX_KEPT_DIFFERENCE, MIN_HIDDEN_DIFFERENCE = 4.0, 12.0
SECONDS = 300


def decode_grey(path: Path) -> Iterator[tuple[float, Picture]]:
    """Yield the time in seconds and the gray pixels of each frame."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            yield frame.time, frame.to_ndarray(format="gray").astype(np.uint8)


def audio_packets(path: Path) -> list[tuple[float, bytes]]:
    """Return the time in seconds and the bytes of each audio packet."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]


def face_differences(source: Path, result: Path, name: str) -> list[float]:
    """Return the difference of a face between two videos, for each frame that shows it clearly."""
    truth = compute_demo_boxes(CLIP_SECONDS, CLIP_SIZE, CLIP_RATE)
    faces = {face.frame: face for face in truth if face.name == name and face.visible}
    found = []
    for index, ((_, before), (_, after)) in enumerate(
        zip(decode_grey(source), decode_grey(result), strict=True)
    ):
        if face := faces.get(index):
            region = np.s_[max(round(face.y1), 0) : round(face.y2), max(round(face.x1), 0) : round(face.x2)]
            found.append(float(cv2.absdiff(before[region], after[region]).mean()))
    assert len(found) > FRAMES / 2, "the clip shows this face most of the time"
    return found


def test_target_stays_other_person_is_hidden_and_rest_is_unchanged(
    pipeline: Pipeline, clip: Path, astronaut: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"

    ended = pipeline.upload(clip, "--channel", "whole", "--keep", astronaut, "-o", out)

    assert ended.code == 0, ended.errors
    assert "kept:   astronaut" in ended.out
    assert f"{FRAMES} frames in 2 segments" in ended.out
    times = [time for time, _ in decode_grey(out)]
    assert times == pytest.approx([time for time, _ in decode_grey(clip)], abs=1e-6)
    assert len(times) == FRAMES
    assert audio_packets(out) == audio_packets(clip)
    assert min(face_differences(clip, out, "admiral")) > MIN_HIDDEN_DIFFERENCE
    # In 15 of 117 frames the two cross, and the mask of one covers the other.
    kept = sorted(face_differences(clip, out, "astronaut"))
    assert kept[len(kept) * 8 // 10] < MAX_KEPT_DIFFERENCE
    report = JobReport.from_bytes((tmp_path / "out.report.jsonl").read_bytes())
    assert report.frames == FRAMES
    assert {track.person for track in report.tracks if track.decision == "keep"} == {"astronaut"}
    assert pipeline.list_names(pipeline.emulator.output, "channels/whole/") == [
        "channels/whole/clip.mp4",
        "channels/whole/clip.report.jsonl",
    ]


def test_waiting_job_is_published_as_a_person_confirms(
    pipeline: Pipeline, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel has no target picture, and a person decides that everyone stays visible."""
    policy = tmp_path / "policy.json"
    policy.write_text('{"confirm": "before_publish", "confirm_hours": 1}')
    out = tmp_path / "out.mp4"

    asked: Future[str] = Future()
    describe = waiting.describe_wait

    def ask(status: JobStatus, deployment: Deployment) -> str:
        asked.set_result(status.job)
        return describe(status, deployment)

    def confirm() -> None:
        job = asked.result(SECONDS)
        tracks = awaiting_review.read_waiting_job(job).tracks
        assert {track.decision for track in tracks} == {"hide"}
        awaiting_review.confirm(job, Edits({track.id: "keep" for track in tracks}))

    monkeypatch.setattr(waiting, "describe_wait", ask)
    with ThreadPoolExecutor() as pool:
        person = pool.submit(confirm)
        ended = pipeline.upload(clip, "--channel", "asked", "--policy", policy, "-o", out)
        person.result()

    assert ended.code == 0, ended.errors
    assert f"defacer job confirm {ended.job}" in " ".join(ended.errors.split())
    for name in ("astronaut", "admiral"):
        kept = sorted(face_differences(clip, out, name))
        assert kept[len(kept) * 8 // 10] < MAX_KEPT_DIFFERENCE
    report = JobReport.from_bytes((tmp_path / "out.report.jsonl").read_bytes())
    assert {str(track.reason) for track in report.tracks} == {"manual"}
    assert pipeline.list_names(pipeline.emulator.work, object_names.WAITING) == []


def test_second_upload_replaces_the_result(pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "again.mp4", Clip(seconds=2, portrait=admiral()))

    first = pipeline.upload(video, "--channel", "again")
    second = pipeline.upload(video, "--channel", "again", "-o", tmp_path / "out.mp4")

    assert (first.code, second.code) == (0, 0), second.errors
    assert first.job != second.job
    work = pipeline.emulator.work
    wait_until(
        lambda: bool(
            pipeline.get_blob(work, object_names.published(first.job))
            or pipeline.get_blob(work, object_names.failed(first.job))
        ),
        "the first upload's job ended",
        SECONDS,
    )
    report = JobReport.from_bytes(
        pipeline.get_blob(pipeline.emulator.output, "channels/again/again.report.jsonl").download_as_bytes()
    )
    assert report.job == second.job
    assert pipeline.list_names(pipeline.emulator.output, "channels/again/") == [
        "channels/again/again.mp4",
        "channels/again/again.report.jsonl",
    ]


def test_job_with_duplicated_messages_publishes_once(pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "twice.mp4", Clip(seconds=6, keyframe_seconds=2, portrait=admiral()))

    with duplicate_messages(pipeline.emulator) as relay:
        ended = pipeline.upload(video, "--channel", "twice", "-o", tmp_path / "out.mp4")
        relay.wait_until_idle()

    assert ended.code == 0, ended.errors
    assert relay.delivered["worker"] >= 6
    assert relay.delivered["merge"] >= 6
    published = pipeline.read_published(ended.job)
    assert published is not None
    assert published.result is not None
    assert pipeline.list_names(pipeline.emulator.output, "channels/twice/") == [
        "channels/twice/twice.mp4",
        "channels/twice/twice.report.jsonl",
    ]
    found = pipeline.get_blob(pipeline.emulator.output, published.result.name)
    assert found.generation == published.result.generation
    log = pipeline.emulator.folder.log("merge").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    written = [line for line in lines if line["message"] == "published" and line.get("job") == ended.job]
    assert len(written) == 1
    linked = [line for line in lines if line["message"] == "linked" and line.get("job") == ended.job]
    assert len(linked) == 1
    assert pipeline.list_names(pipeline.emulator.work, object_names.segments_prefix(ended.job)) == []
    for prefix in (object_names.gallery_prefix(ended.job), object_names.segment_detections_prefix(ended.job)):
        assert pipeline.list_names(pipeline.emulator.work, prefix) == []


def assert_upload_fails(pipeline: Pipeline, channel: str, video: Path, code: str, named: str) -> None:
    """Assert that an upload fails with this code and a sentence about the object, and publishes nothing."""
    ended = pipeline.upload(video, "--channel", channel, "--wait")

    assert ended.code == 1
    assert "Traceback" not in ended.errors
    failed = pipeline.read_failed(ended.job)
    assert failed.code == code
    assert object_names.owner_name(f"channels/{channel}/{named}") in failed.message
    assert failed.message in ended.errors
    assert failed.message.endswith(".")
    require_plain(failed.message)
    assert pipeline.list_names(pipeline.emulator.output, f"channels/{channel}/") == []


@pytest.mark.parametrize(
    ("channel", "content"),
    [("noise", NOISE), ("cut", b"\0\0\0\x18ftypmp42"), ("matroska", b"\x1aE\xdf\xa3" + NOISE)],
)
def test_file_that_is_not_a_video_fails(
    pipeline: Pipeline, channel: str, content: bytes, tmp_path: Path
) -> None:
    video = tmp_path / "holiday.mp4"
    video.write_bytes(content)

    assert_upload_fails(pipeline, channel, video, "not-a-video", "videos/holiday.mp4")


@pytest.mark.parametrize(
    ("channel", "picture", "code"),
    [
        ("faceless", np.full((300, 300, 3), 120, np.uint8), "bad-picture"),
        ("crowd", np.hstack([portrait(), cv2.resize(admiral(), (300, 300))]), "bad-picture"),
    ],
)
def test_target_picture_without_exactly_one_face_fails(
    pipeline: Pipeline, channel: str, picture: Picture, code: str, tmp_path: Path
) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))
    pipeline.put(f"channels/{channel}/targets/me.png", encode_picture(picture))

    assert_upload_fails(pipeline, channel, video, code, "targets/me.png")


@pytest.mark.parametrize(
    ("channel", "policy"),
    [("cut", '{"mode": "bl'), ("vanish", '{"mode": "vanish"}'), ("typo", '{"mood": "blur"}')],
)
def test_invalid_policy_fails(pipeline: Pipeline, channel: str, policy: str, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))
    pipeline.put(object_names.policy(channel), policy.encode())

    assert_upload_fails(pipeline, channel, video, "bad-policy", "policy.json")


def test_mode_image_without_a_picture_fails(pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))
    pipeline.put(object_names.policy("pictureless"), b'{"mode": "image"}')

    assert_upload_fails(pipeline, "pictureless", video, "no-replacement", "replacement.png")


def run_rerender(pipeline: Pipeline, job: str, *arguments: str | Path) -> CommandResult:
    pipeline.capture.readouterr()
    state = ("--dir", str(pipeline.emulator.folder.path))
    code = main(["job", "rerender", job, *map(str, arguments), *state])
    found = pipeline.capture.readouterr()
    return CommandResult(code, found.out, found.err)


def test_rerender_changes_decisions_without_another_detection(
    pipeline: Pipeline, clip: Path, astronaut: Path, tmp_path: Path
) -> None:
    """First one person is kept. Then, with duplicated messages, the decisions are swapped."""
    uploaded = pipeline.upload(clip, "--channel", "changed", "--keep", astronaut, "--wait")
    assert uploaded.code == 0, uploaded.errors
    listed = run_rerender(pipeline, uploaded.job)
    assert listed.code == 0, listed.errors
    tracks = {line.split()[0]: line for line in listed.out.splitlines()[1:]}
    kept = [number for number, line in tracks.items() if "keep as astronaut" in line]
    hidden = [number for number in tracks if number not in kept]
    assert kept
    assert hidden
    out = tmp_path / "out.mp4"

    options = [*(word for number in kept for word in ("--hide", number))]
    options += [word for number in hidden for word in ("--keep", number)]
    with duplicate_messages(pipeline.emulator) as relay:
        ended = run_rerender(pipeline, uploaded.job, *options, "-o", out)
        relay.wait_until_idle()

    assert ended.code == 0, ended.errors
    assert f"manual changes, based on the result of job {uploaded.job}: " in ended.out
    assert min(face_differences(clip, out, "astronaut")) > MIN_HIDDEN_DIFFERENCE
    kept_differences = sorted(face_differences(clip, out, "admiral"))
    assert kept_differences[len(kept_differences) * 8 // 10] < MAX_KEPT_DIFFERENCE
    assert audio_packets(out) == audio_packets(clip)
    report = JobReport.from_bytes((tmp_path / "out.report.jsonl").read_bytes())
    assert report.rerender is not None
    assert (report.job, report.rerender.of) == (ended.job, uploaded.job)
    messages = {
        name: [
            line["message"]
            for text in pipeline.emulator.folder.log(name).read_text().splitlines()
            if text.startswith("{") and (line := json.loads(text)).get("job") == ended.job
        ]
        for name in ("ingest", "worker", "merge")
    }
    assert "planned" in messages["ingest"]
    assert "segment detected" not in messages["worker"]
    assert messages["worker"].count("segment redacted") == 2
    assert "linked" not in messages["merge"]
    assert messages["merge"].count("published") == 1
    assert pipeline.list_names(pipeline.emulator.output, "channels/changed/") == [
        "channels/changed/clip.mp4",
        "channels/changed/clip.report.jsonl",
    ]

    for wrong, message in (
        (("--keep", "99"), "There is no track 99"),
        (("--keep", "1", "--hide", "1"), "at once"),
    ):
        refused = run_rerender(pipeline, ended.job, *wrong, "--wait")
        assert refused.code == 2
        assert message in refused.errors
    pipeline.emulator.storage_client().bucket(pipeline.emulator.intake).blob(
        "channels/changed/videos/clip.mp4"
    ).delete()
    gone = run_rerender(pipeline, ended.job, "--keep", kept[0])
    assert gone.code == 1
    assert "was deleted or replaced after its upload. Upload the video again." in gone.errors


def calls_about(webhook: Receiver, jobs: list[str]) -> list[Call]:
    return [c for c in webhook.calls if JobEvent.model_validate_json(c.body).data.job in jobs]


def test_webhook_is_called_for_a_published_and_a_failed_job(
    pipeline: Pipeline, webhook: Receiver, tmp_path: Path
) -> None:
    video = write_clip(tmp_path / "called.mp4", Clip(seconds=2, portrait=admiral()))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(NOISE)
    jobs = []
    for path in (video, broken):
        uploaded = pipeline.upload(path)
        assert uploaded.code == 0
        jobs.append(uploaded.job)
        wait_until(lambda: len(calls_about(webhook, jobs)) == len(jobs), "the webhook was called", SECONDS)

    calls = calls_about(webhook, jobs)
    events = [JobEvent.model_validate_json(call.body) for call in calls]
    assert [(event.type, event.data.job) for event in events] == [
        ("job.completed", jobs[0]),
        ("job.failed", jobs[1]),
    ]
    assert events[0].data.result is not None
    assert events[0].data.result.name == "channels/demo/called.mp4"
    assert events[1].data.code == "not-a-video"
    for call in calls:
        secret, stamp = WEBHOOK_SECRET, call.headers["defacer-timestamp"]
        assert call.headers["defacer-signature"] == sign(secret, stamp, call.body)
