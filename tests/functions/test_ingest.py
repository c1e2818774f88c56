"""Ingest through its HTTP interface, with the real engine."""

import io
import json
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from defacer import engine_host
from defacer.engine.runtime import torch_package
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import job_of
from tests.clips import admiral, astronaut, encode_picture
from tests.cloud import Buckets, Post, Topics, push_body, upload_push
from tests.functions.ingesting import (
    POLICY,
    VIDEO,
    assert_failed,
    assert_nothing_happened,
    manifest_of,
    tasks,
)
from tests.heif import HeifFile
from tests.inputs.sound_files import with_sound
from tests.proxy import Proxy


def test_upload_creates_manifest_event_and_tasks(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    manifest = manifest_of(buckets, ref)
    assert (manifest.job, manifest.channel, manifest.source) == (job_of(ref), "street", ref)
    assert (manifest.result, manifest.report) == (
        "channels/street/walk.mp4",
        "channels/street/walk.report.jsonl",
    )
    assert manifest.source_size == clip.stat().st_size
    assert (manifest.video.width, manifest.video.height, manifest.video.codec) == (320, 180, "h264")
    assert manifest.video.duration_seconds == pytest.approx(2)
    assert (manifest.targets, manifest.gallery, manifest.replacement) == ((), None, None)
    assert len(manifest.segments) == 2
    blob = buckets.blob(buckets.work, object_names.manifest(manifest.job))
    expected = [
        SegmentTask(
            job=manifest.job,
            index=index,
            step="detect",
            manifest=ObjectRef(bucket=buckets.work, name=blob.name, generation=blob.generation),
        )
        for index in (0, 1)
    ]
    assert sorted(tasks(topics), key=lambda task: task.index) == expected
    (event,) = topics.events()
    assert (event["type"], event["id"]) == ("job.planned", f"{manifest.job}-planned")
    assert (event["data"]["channel"], event["data"]["segments"]) == ("street", 2)
    attributes = topics.all(topics.job_events)[0]["message"]["attributes"]
    assert attributes == {"type": "job.planned", "content-type": "application/cloudevents+json"}


def test_by_products_do_not_enter_the_gallery(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    put = lambda name, data: buckets.put(buckets.intake, f"channels/street/targets/{name}", data)  # noqa: E731
    put("Grace.HEIC", HeifFile(admiral(), columns=2, rows=2).to_bytes())
    put("Eileen/1.jpg", encode_picture(astronaut(), ".jpg"))
    put("Eileen/2.png", encode_picture(astronaut()[:, ::-1].copy()))
    put("Eileen/._2.png", b"metadata of a Mac")
    put("", b"")
    buckets.put(buckets.intake, "channels/other/targets/Nobody.jpg", b"not read")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    manifest = manifest_of(buckets, ref)
    assert manifest.targets == ("Eileen", "Grace")
    assert manifest.gallery is not None
    assert buckets.get(buckets.work, manifest.gallery.name)[:2] == b"PK"


def test_job_has_the_channel_s_policy(buckets: Buckets, topics: Topics, ingest: Post, clip: Path) -> None:
    buckets.put(buckets.intake, POLICY, b'{"mode": "image", "quality": 23, "source_retention": "delete"}')
    picture = buckets.put(buckets.intake, "channels/street/replacement.png", encode_picture(astronaut()))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    manifest = manifest_of(buckets, ref)
    assert (manifest.policy.mode, manifest.policy.quality, manifest.policy.source_retention) == (
        "image",
        23,
        "delete",
    )
    assert manifest.replacement == picture


def test_new_upload_of_the_same_name_is_another_job(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    first = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(first)) == 200
    second = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(second)) == 200
    assert manifest_of(buckets, first).job != manifest_of(buckets, second).job


@pytest.mark.parametrize(
    "name",
    [
        "walk.mp4",
        "channels/street/walk.mp4",
        "channels/street/videos/",
        POLICY,
        "channels/street/targets/a.jpg",
    ],
)
def test_object_that_is_not_a_video_is_ignored(
    name: str, buckets: Buckets, topics: Topics, ingest: Post
) -> None:
    assert ingest(upload_push(buckets.put(buckets.intake, name, b"x"))) == 200
    assert_nothing_happened(buckets, topics)


def test_object_of_another_bucket_is_ignored(buckets: Buckets, topics: Topics, ingest: Post) -> None:
    assert ingest(upload_push(buckets.put(buckets.output, VIDEO, b"x"))) == 200
    assert_nothing_happened(buckets, topics)


@pytest.mark.parametrize("event_type", ["OBJECT_DELETE", "OBJECT_METADATA_UPDATE", "OBJECT_ARCHIVE"])
def test_events_other_than_finalize_are_ignored(
    event_type: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref, event_type=event_type)) == 200
    assert_nothing_happened(buckets, topics)


@pytest.mark.parametrize(
    ("data", "attributes"),
    [(b"{}", {}), (b"no json", {"type": "x"}), (b"x", {"eventType": "OBJECT_FINALIZE", "bucketId": "b"})],
)
def test_message_without_notification_is_acknowledged(
    data: bytes, attributes: Any, buckets: Buckets, topics: Topics, ingest: Post
) -> None:
    assert ingest(push_body(data, attributes)) == 200
    assert_nothing_happened(buckets, topics)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (b"", ["invalid JSON"]),
        (b"{mode: blur}", ["invalid JSON"]),
        (b"\xff\xfe{}", ["UTF-16 or UTF-32, UTF-8 is expected"]),
        (b"[]", ["object"]),
        (b'"blur"', ["object"]),
        (b'{"mode": "blurr"}', ['"mode"', "'blurr'", "'pixelate'"]),
        (b'{"modes": "blur"}', ['"modes" is not a field', "strength"]),
        (b'{"strength": 99}', ['"strength"', "99", "less than or equal to 3"]),
        (b'{"strength": NaN}', ['"strength"']),
        (b'{"verify": "yes"}', ['"verify"', "off", "standard", "strict"]),
        (b'{"color": "red"}', ['"color"', "'red'"]),
        (b'{"mode": 1, "quality": -1}', ['"mode"', '"quality"']),
        (b'{"color": "' + b"x" * 70_000 + b'"}', ["70013 bytes", "at most 65536"]),
    ],
)
def test_invalid_policy_fails_with_the_allowed_values(
    policy: bytes,
    said: list[str],
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    clip: Path,
) -> None:
    buckets.put(buckets.intake, POLICY, policy)
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-policy", "policy.json", *said)


@pytest.mark.parametrize("picture", [None, b"", b"GIF89a nonsense"])
def test_mode_image_requires_a_readable_picture(
    picture: bytes | None, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    name = "channels/street/replacement.png"
    buckets.put(buckets.intake, POLICY, b'{"mode": "image"}')
    if picture is not None:
        buckets.put(buckets.intake, name, picture)
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    code = "no-replacement" if picture is None else "bad-replacement"
    assert_failed(buckets, topics, ref, code, "replacement.png", "Upload")


@pytest.mark.parametrize("kind", ["no face", "no picture"])
def test_target_picture_without_face_fails_by_name(
    kind: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    wall = encode_picture(astronaut() // 8 * 0 + 90)
    buckets.put(buckets.intake, "channels/street/targets/Grace.png", encode_picture(admiral()))
    bad = "channels/street/targets/Nobody/1.png"
    buckets.put(buckets.intake, bad, wall if kind == "no face" else b"not a picture")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-picture", "targets/Nobody/1.png", "Use a")


def test_pictures_of_two_people_under_one_name_fail(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    for number, picture in enumerate((astronaut(), admiral()), start=1):
        name = f"channels/street/targets/Eileen/{number}.png"
        buckets.put(buckets.intake, name, encode_picture(picture))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(
        *(buckets, topics, ref, "bad-picture", "targets/Eileen/2.png"),
        "does not look like the person in targets/Eileen/1.png",
    )


def test_too_many_target_pictures_fail_the_job(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    for number in range(201):
        buckets.put(buckets.intake, f"channels/street/targets/P{number}.png", b"x")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "too-many-targets", "201 target pictures", "At most 200")


@pytest.mark.parametrize("kind", ["text", "cut off", "sound only", "picture"])
def test_invalid_video_fails_the_job(
    kind: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    whole = clip.read_bytes()
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 8000, "NONE", ""))
        file.writeframes(bytes(16_000))
    data = {
        "text": b"hello" * 999,
        "cut off": whole[: len(whole) // 2],
        "sound only": sound.getvalue(),
        "picture": encode_picture(astronaut()),
    }[kind]
    ref = buckets.put(buckets.intake, VIDEO, data)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "not-a-video", "walk.mp4: it ")


def test_video_replaced_before_planning_fails_only_its_job(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    first = buckets.put(buckets.intake, VIDEO, clip)
    second = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(first)) == 200
    assert_failed(buckets, topics, first, "source-gone", "walk.mp4 was deleted or replaced")
    assert ingest(upload_push(second)) == 200
    assert manifest_of(buckets, second).source == second


def test_only_the_header_of_a_long_video_is_read(
    buckets: Buckets, topics: Topics, ingest: Post, proxy: Proxy, clip: Path
) -> None:
    whole = clip.read_bytes()
    padding = 40 * 1024 * 1024
    # An MP4 can contain any number of boxes that a reader skips. Here one precedes the index at the end.
    index = whole.rindex(b"moov") - 4
    box = padding.to_bytes(4, "big") + b"free" + bytes(padding - 8)
    ref = buckets.put(buckets.intake, VIDEO, whole[:index] + box + whole[index:])
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).source_size > padding
    reads = [path for method, path in proxy.requests if "alt=media" in path and "walk.mp4" in path]
    assert 1 <= len(reads) <= 5


def test_missing_recognizer_package_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in torch_package.MODULES:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(
        PermanentError, match=r"Recognizer facenet-vggface2 needs PyTorch.*make torch"
    ) as refused:
        engine_host.HOST.build_gallery([], "facenet-vggface2")

    assert refused.value.code == "missing-package"


def test_sound_that_the_policy_refuses_fails_the_job_without_any_task(
    buckets: Buckets, topics: Topics, ingest: Post, tmp_path: Path
) -> None:
    buckets.put(buckets.intake, POLICY, b'{"sound": "copy_only"}')
    ref = buckets.put(
        buckets.intake, VIDEO, with_sound("in.mov", "pcm_alaw", 8000, "mono", seconds=0.4)(tmp_path)
    )
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "unsupported-sound", "sound track 1: pcm_alaw")


@pytest.mark.usefixtures("topics")
def test_ingest_logs_the_codes_of_all_changes(
    buckets: Buckets, ingest: Post, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = buckets.put(
        buckets.intake, VIDEO, with_sound("in.mov", "pcm_alaw", 8000, "mono", seconds=0.4)(tmp_path)
    )
    assert ingest(upload_push(ref)) == 200
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"probed"' in line]
    assert line["changes"] == ["converted-sound"]
