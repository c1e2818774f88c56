import pytest

from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import (
    RerenderName,
    SubsegmentName,
    VideoName,
    parse_rerender,
    parse_subsegment,
    parse_target,
    parse_video,
)
from tests.hostile import BAD_NAMES, ODD_NAMES


def test_video_name_round_trips() -> None:
    video = VideoName("street", "2026/May/walk.mp4")
    assert parse_video(video.object_name) == video


@pytest.mark.parametrize(
    "name",
    [
        "channels/street/videos/",
        "channels/street/videos",
        "channels/street/videos/folder/",
        "channels/street/videos/.DS_Store",
        "channels/street/videos/folder/._clip.mp4",
        "channels/street/videos/GX010001.LRV",
        "channels//videos/a.mp4",
        "channels/street/targets/me.jpg",
        "channels/street/policy.json",
        "videos/a.mp4",
        "x/channels/street/videos/a.mp4",
        "",
    ],
)
def test_name_outside_the_videos_folder_is_not_a_video(name: str) -> None:
    assert parse_video(name) is None


@pytest.mark.parametrize("path", ["ä b.mp4", "a\nb.mp4", "%2F?#[].mp4", "videos/videos/x", "..", "日本.mov"])
def test_any_file_name_can_be_a_video(path: str) -> None:
    assert parse_video(f"channels/street/videos/{path}") == VideoName("street", path)


@pytest.mark.parametrize(
    ("path", "result", "report"),
    [
        ("a.mp4", "channels/c/a.mp4", "channels/c/a.report.jsonl"),
        ("x/a.mov", "channels/c/x/a.mov.mp4", "channels/c/x/a.mov.report.jsonl"),
        ("a.MP4", "channels/c/a.MP4", "channels/c/a.MP4.report.jsonl"),
        ("a", "channels/c/a.mp4", "channels/c/a.report.jsonl"),
    ],
)
def test_result_is_an_mp4_named_after_the_video(path: str, result: str, report: str) -> None:
    assert (VideoName("c", path).result, VideoName("c", path).report) == (result, report)


def test_suffixes_that_differ_in_case_have_different_reports() -> None:
    videos = [VideoName("c", path) for path in ("a.mp4", "a.MP4", "a.mov", "a.Mp4")]
    assert len({video.result for video in videos}) == len({video.report for video in videos}) == 4


@pytest.mark.parametrize(
    ("path", "person"),
    [
        ("Ada.jpg", "Ada"),
        ("Ada.PNG", "Ada"),
        ("Ada/front.jpeg", "Ada"),
        ("Ada Lovelace/1.png", "Ada Lovelace"),
        ("Ada/deeper/1.png", None),
        ("Ada/notes.txt", "Ada"),
        ("Ada", "Ada"),
        ("._Ada.jpg", None),
        ("Ada/Thumbs.db", None),
        ("Ada_$folder$", None),
        ("Ada.heic", "Ada"),
        ("Ada/IMG_1.HEIC", "Ada"),
        ("Ada.avif", "Ada"),
        ("Ada.webp", "Ada"),
        ("Ada/", None),
        ("", None),
        (".jpg", None),
        ("/1.jpg", None),
        ("../1.jpg", None),
        ("./1.jpg", None),
    ],
)
def test_target_picture_names_its_person(path: str, person: str | None) -> None:
    assert parse_target(f"channels/c/targets/{path}") == person


def test_each_generation_of_an_upload_is_a_job() -> None:
    job = object_names.job_id("intake", "channels/c/videos/a.mp4", 1)
    assert job == object_names.job_id("intake", "channels/c/videos/a.mp4", 1)
    others = {
        object_names.job_id("intake", "channels/c/videos/a.mp4", 2),
        object_names.job_id("intake", "channels/c/videos/b.mp4", 1),
        object_names.job_id("other", "channels/c/videos/a.mp4", 1),
    }
    assert len(others) == 3
    assert job not in others


def test_only_outputs_of_segment_steps_parse_as_subsegments() -> None:
    job = object_names.job_id("b", "n", 1)
    report, findings = object_names.segment_report(job, 12), object_names.segment_detections(job, 12)
    others = [
        object_names.segment_video(job, 12, "ab" * 32),
        object_names.manifest(job),
        object_names.faces(job),
    ]
    others += [object_names.segment_lease(job, step, 12) for step in ("detect", "redact")]
    others += [object_names.link_lease(job), object_names.merge_lease(job), object_names.published(job)]
    others += [object_names.gallery(job, "cd" * 32)]
    others += [
        object_names.segment_video(job, 12, "ab" * 32, "01"),
        object_names.segment_lease(job, "detect", 12, "01"),
    ]
    assert parse_subsegment(report) == SubsegmentName(job, "redact", 12, "", is_split=False)
    assert parse_subsegment(findings) == SubsegmentName(job, "detect", 12, "", is_split=False)
    for part in ("0", "011"):
        assert parse_subsegment(object_names.segment_report(job, 12, part)) == SubsegmentName(
            job, "redact", 12, part, is_split=False
        )
        assert parse_subsegment(object_names.segment_detections(job, 12, part)) == SubsegmentName(
            job, "detect", 12, part, is_split=False
        )
    for step in ("detect", "redact"):
        assert parse_subsegment(object_names.split_mark(job, step, 12, "1")) == SubsegmentName(
            job, step, 12, "1", is_split=True
        )
    assert [parse_subsegment(name) for name in others] == [None] * len(others)


def test_steps_of_a_segment_have_different_leases() -> None:
    job = object_names.job_id("b", "n", 1)
    claims = {
        object_names.segment_lease(job, step, index) for step in ("detect", "redact") for index in (0, 1)
    }
    assert len(claims | {object_names.link_lease(job), object_names.merge_lease(job)}) == 6


def test_all_objects_of_a_job_have_its_prefix() -> None:
    job = object_names.job_id("b", "n", 1)
    names = [
        object_names.manifest(job),
        object_names.gallery(job, "ab" * 32),
        object_names.published(job),
        object_names.failed(job),
    ]
    names += [
        object_names.merge_lease(job),
        object_names.segment_lease(job, "detect", 0),
        object_names.segment_report(job, 0),
    ]
    names += [object_names.segment_detections(job, 0), object_names.faces(job), object_names.link_lease(job)]
    assert all(name.startswith(object_names.job_prefix(job)) for name in names)
    assert object_names.gallery(job, "ab" * 32).startswith(object_names.gallery_prefix(job))
    assert object_names.segment_detections(job, 0).startswith(object_names.segment_detections_prefix(job))
    assert object_names.segment_lease(job, "redact", 0).startswith(object_names.leases_prefix(job))


@pytest.mark.parametrize("path", ODD_NAMES.values(), ids=ODD_NAMES)
def test_harmless_name_is_accepted(path: str) -> None:
    assert VideoName("street", path).problem is None


@pytest.mark.parametrize("path", [*BAD_NAMES.values(), "\ud800.mp4"], ids=[*BAD_NAMES, "half a character"])
def test_harmful_name_is_rejected(path: str) -> None:
    assert VideoName("street", path).problem


def test_rerender_request_is_named_after_its_upload() -> None:
    name = RerenderName("street", object_names.job_id("b", "n", 1))
    assert parse_rerender(name.object_name) == name
    assert object_names.channel_of_input(name.object_name) == "street"
    assert object_names.channel_of_input("channels/x/videos/a.mp4") == "x"


@pytest.mark.parametrize(
    "name",
    [
        "channels/street/rerender/walk.mp4.json",
        f"channels/street/rerender/{'a' * 21}.json",
        f"channels/street/rerender/{'A' * 20}.json",
        f"channels/street/rerender/x/{'a' * 20}.json",
        f"channels/street/rerender/{'a' * 20}.json\n",
        f"channels//rerender/{'a' * 20}.json",
        f"channels/street/targets/{'a' * 20}.json",
    ],
)
def test_other_name_is_not_a_rerender_request(name: str) -> None:
    assert parse_rerender(name) is None
    assert object_names.channel_of_input(name) is None


def test_only_leases_are_recognized_as_leases() -> None:
    job = "0" * 20
    leases = (
        object_names.link_lease(job),
        object_names.merge_lease(job),
        object_names.segment_lease(job, "find", 3),
    )
    assert all(map(object_names.is_lease, leases))
    assert not any(map(object_names.is_lease, (object_names.manifest(job), object_names.faces(job), "x")))
