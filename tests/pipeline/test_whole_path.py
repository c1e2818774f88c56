"""From an upload to a published video, on the emulator with the real functions: `drop` and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.pipeline.documents.report import Report
from defacer.pipeline.storage import object_names
from defacer_emulator.commands.cli import main
from defacer_emulator.demo.demo_clip import demo_truth
from tests.clips import Clip, Picture, admiral, encode_picture, write_clip
from tests.clips import astronaut as portrait
from tests.pipeline.conftest import CLIP_RATE, CLIP_SECONDS, CLIP_SIZE, NOISE, Ended, Pipeline
from tests.pipeline.doubling import everything_twice
from tests.sentences import require_plain
from tests.servers import wait_until

FRAMES = round(CLIP_SECONDS * CLIP_RATE)
# Mean difference of grey values over a face's box. A second encode changes little, hiding changes much.
KEPT_AT_MOST, HIDDEN_AT_LEAST = 4.0, 12.0
SECONDS = 300


def decoded(path: Path) -> Iterator[tuple[float, Picture]]:
    """Each frame's time in seconds, and its pixels in grey."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            yield frame.time, frame.to_ndarray(format="gray")


def sound(path: Path) -> list[tuple[float, bytes]]:
    """Each packet of sound: its time in seconds and its bytes."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]


def differences(source: Path, result: Path, name: str) -> list[float]:
    """How much a face differs between two videos, frame by frame, where a person could tell who it is."""
    truth = demo_truth(CLIP_SECONDS, CLIP_SIZE, CLIP_RATE)
    faces = {face.frame: face for face in truth if face.name == name and face.visible}
    found = []
    for index, ((_, before), (_, after)) in enumerate(zip(decoded(source), decoded(result), strict=True)):
        if face := faces.get(index):
            region = np.s_[max(round(face.y1), 0) : round(face.y2), max(round(face.x1), 0) : round(face.x2)]
            found.append(float(cv2.absdiff(before[region], after[region]).mean()))
    assert len(found) > FRAMES / 2, "the clip shows this face most of the time"
    return found


def test_one_person_stays_the_other_is_hidden_and_nothing_else_changes(
    pipeline: Pipeline, clip: Path, astronaut: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"

    ended = pipeline.drop(clip, "--channel", "whole", "--target", astronaut, "-o", out)

    assert ended.code == 0, ended.errors
    assert "kept:   astronaut" in ended.out
    assert f"{FRAMES} frames in 2 segments" in ended.out
    times = [time for time, _ in decoded(out)]
    assert times == pytest.approx([time for time, _ in decoded(clip)], abs=1e-6)
    assert len(times) == FRAMES
    assert sound(out) == sound(clip)
    assert min(differences(clip, out, "admiral")) > HIDDEN_AT_LEAST
    # While the two cross, what hides the one lies over the other: 15 of 117 frames.
    kept = sorted(differences(clip, out, "astronaut"))
    assert kept[len(kept) * 8 // 10] < KEPT_AT_MOST
    report = Report.model_validate_json((tmp_path / "out.report.json").read_bytes())
    assert report.frames == FRAMES
    assert {track.person for track in report.faces.tracks if track.decision == "keep"} == {"astronaut"}
    assert pipeline.names(pipeline.emulator.output, "channels/whole/") == [
        "channels/whole/clip.mp4",
        "channels/whole/clip.report.json",
    ]


def test_a_video_uploaded_again_replaces_the_result(pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "again.mp4", Clip(seconds=2, portrait=admiral()))

    first = pipeline.drop(video, "--channel", "again")
    second = pipeline.drop(video, "--channel", "again", "-o", tmp_path / "out.mp4")

    assert (first.code, second.code) == (0, 0), second.errors
    assert first.job != second.job
    work = pipeline.emulator.work
    wait_until(
        lambda: bool(
            pipeline.blob(work, object_names.published(first.job))
            or pipeline.blob(work, object_names.failed(first.job))
        ),
        "the first upload's job ended",
        SECONDS,
    )
    report = json.loads(
        pipeline.blob(pipeline.emulator.output, "channels/again/again.report.json").download_as_bytes()
    )
    assert report["job"] == second.job
    assert pipeline.names(pipeline.emulator.output, "channels/again/") == [
        "channels/again/again.mp4",
        "channels/again/again.report.json",
    ]


def test_a_job_whose_messages_all_come_twice_publishes_once(pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "twice.mp4", Clip(seconds=6, keyframe_seconds=2, portrait=admiral()))

    with everything_twice(pipeline.emulator) as relay:
        ended = pipeline.drop(video, "--channel", "twice", "-o", tmp_path / "out.mp4")
        relay.wait_until_idle()

    assert ended.code == 0, ended.errors
    assert relay.delivered["worker"] >= 6
    assert relay.delivered["merge"] >= 6
    published = pipeline.published(ended.job)
    assert published is not None
    assert published.result is not None
    assert pipeline.names(pipeline.emulator.output, "channels/twice/") == [
        "channels/twice/twice.mp4",
        "channels/twice/twice.report.json",
    ]
    found = pipeline.blob(pipeline.emulator.output, published.result.name)
    assert found.generation == published.result.generation
    log = pipeline.emulator.folder.log("merge").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    written = [line for line in lines if line["message"] == "published" and line.get("job") == ended.job]
    assert len(written) == 1
    linked = [line for line in lines if line["message"] == "linked" and line.get("job") == ended.job]
    assert len(linked) == 1
    assert pipeline.names(pipeline.emulator.work, object_names.segments_prefix(ended.job)) == []
    for prefix in (object_names.gallery_prefix(ended.job), object_names.segment_detections_prefix(ended.job)):
        assert pipeline.names(pipeline.emulator.work, prefix) == []


def check_failed(
    pipeline: Pipeline, channel: str, video: Path, code: str, named: str, *arguments: str | Path
) -> None:
    """The drop fails with this code and a sentence that names the object, and publishes nothing."""
    ended = pipeline.drop(video, "--channel", channel, "--wait", *arguments)

    assert ended.code == 1
    assert "Traceback" not in ended.errors
    failed = pipeline.failed(ended.job)
    assert failed.code == code
    assert object_names.owner_name(f"channels/{channel}/{named}") in failed.message
    assert failed.message in ended.errors
    assert failed.message.endswith(".")
    require_plain(failed.message)
    assert pipeline.names(pipeline.emulator.output, f"channels/{channel}/") == []


@pytest.mark.parametrize(
    ("channel", "content"),
    [("noise", NOISE), ("cut", b"\0\0\0\x18ftypmp42"), ("matroska", b"\x1aE\xdf\xa3" + NOISE)],
)
def test_what_is_no_video_fails(pipeline: Pipeline, channel: str, content: bytes, tmp_path: Path) -> None:
    video = tmp_path / "holiday.mp4"
    video.write_bytes(content)

    check_failed(pipeline, channel, video, "not-a-video", "videos/holiday.mp4")


@pytest.mark.parametrize(
    ("channel", "picture", "code"),
    [
        ("faceless", np.full((300, 300, 3), 120, np.uint8), "bad-picture"),
        ("crowd", np.hstack([portrait(), cv2.resize(admiral(), (300, 300))]), "bad-picture"),
    ],
)
def test_a_target_without_one_face_fails(
    pipeline: Pipeline, channel: str, picture: Picture, code: str, tmp_path: Path
) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))
    target = tmp_path / "me.png"
    target.write_bytes(encode_picture(picture))

    check_failed(pipeline, channel, video, code, "targets/me.png", "--target", target)


@pytest.mark.parametrize(
    ("channel", "policy"),
    [("cut", '{"mode": "bl'), ("vanish", '{"mode": "vanish"}'), ("typo", '{"mood": "blur"}')],
)
def test_a_broken_policy_fails(pipeline: Pipeline, channel: str, policy: str, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))
    pipeline.put(object_names.policy(channel), policy.encode())

    check_failed(pipeline, channel, video, "bad-policy", "policy.json")


def test_mode_image_without_a_picture_fails(pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))
    pipeline.put(object_names.policy("pictureless"), b'{"mode": "image"}')

    check_failed(pipeline, "pictureless", video, "no-replacement", "replacement.png")


def again(pipeline: Pipeline, job: str, *arguments: str | Path) -> Ended:
    pipeline.capture.readouterr()
    state = ("--state", str(pipeline.emulator.folder.path))
    code = main(["again", job, *map(str, arguments), *state])
    found = pipeline.capture.readouterr()
    return Ended(code, found.out, found.err)


def test_a_decision_is_changed_and_nobody_is_looked_for_again(
    pipeline: Pipeline, clip: Path, astronaut: Path, tmp_path: Path
) -> None:
    """First the one is kept; then, with every message twice, the other, and the first one is hidden."""
    dropped = pipeline.drop(clip, "--channel", "changed", "--target", astronaut, "--wait")
    assert dropped.code == 0, dropped.errors
    listed = again(pipeline, dropped.job)
    assert listed.code == 0, listed.errors
    tracks = {line.split()[0]: line for line in listed.out.splitlines()[1:]}
    kept = [number for number, line in tracks.items() if "keep as astronaut" in line]
    hidden = [number for number in tracks if number not in kept]
    assert kept
    assert hidden
    out = tmp_path / "out.mp4"

    wish = [*(word for number in kept for word in ("--hide", number))]
    wish += [word for number in hidden for word in ("--keep", number)]
    with everything_twice(pipeline.emulator) as relay:
        ended = again(pipeline, dropped.job, *wish, "-o", out)
        relay.wait_until_idle()

    assert ended.code == 0, ended.errors
    assert f"decided by hand, based on the result of job {dropped.job}: " in ended.out
    assert min(differences(clip, out, "astronaut")) > HIDDEN_AT_LEAST
    seen = sorted(differences(clip, out, "admiral"))
    assert seen[len(seen) * 8 // 10] < KEPT_AT_MOST
    assert sound(out) == sound(clip)
    report = Report.model_validate_json((tmp_path / "out.report.json").read_bytes())
    assert report.again is not None
    assert (report.job, report.again.of) == (ended.job, dropped.job)
    said = {
        name: [
            line["message"]
            for text in pipeline.emulator.folder.log(name).read_text().splitlines()
            if text.startswith("{") and (line := json.loads(text)).get("job") == ended.job
        ]
        for name in ("ingest", "worker", "merge")
    }
    assert "planned" in said["ingest"]
    assert "faces found" not in said["worker"]
    assert said["worker"].count("segment done") == 2
    assert "linked" not in said["merge"]
    assert said["merge"].count("published") == 1
    assert pipeline.names(pipeline.emulator.output, "channels/changed/") == [
        "channels/changed/clip.mp4",
        "channels/changed/clip.report.json",
    ]

    for wrong, told in ((("--keep", "99"), "has no track 99"), (("--keep", "1", "--hide", "1"), "at once")):
        refused = again(pipeline, ended.job, *wrong, "--wait")
        assert refused.code in (1, 2)
        assert told in refused.errors
    pipeline.emulator.storage_client().bucket(pipeline.emulator.intake).blob(
        "channels/changed/videos/clip.mp4"
    ).delete()
    gone = again(pipeline, ended.job, "--keep", kept[0])
    assert gone.code == 1
    assert "was deleted or replaced after its upload. Upload the video again." in gone.errors
