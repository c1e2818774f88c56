"""The files that people, systems and recorders put into the intake bucket beside videos and pictures."""

import gzip
import json
from pathlib import Path

import pytest

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.storage import object_names
from tests.clips import admiral, astronaut, encode_picture
from tests.cloud import Buckets, Post, Topics, push_body, upload_push
from tests.functions.ingesting import POLICY, VIDEO, assert_failed, assert_nothing_happened, manifest_of
from tests.functions.records import failure_of

TARGETS = "channels/street/targets/"
ANYWHERE = (".DS_Store", "._clip.mp4", "Thumbs.db", "desktop.ini", "sub_$folder$", "sub/", ".keep")
BESIDE_VIDEOS = ("clip.srt", "GX010001.LRV", "GX010001.THM", "x.mp4.part", "Unconfirmed 1.crdownload")


def put_compressed(buckets: Buckets, name: str, data: bytes) -> ObjectRef:
    """Store an object as `gsutil cp -Z` does."""
    blob = buckets.client.bucket(buckets.intake).blob(name)
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(data), content_type="application/octet-stream")
    return ObjectRef(bucket=buckets.intake, name=name, generation=int(blob.generation))


def test_by_products_beside_videos_start_no_job(
    buckets: Buckets, topics: Topics, ingest: Post, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [*ANYWHERE, *BESIDE_VIDEOS, "2024/.DS_Store", "2024/clip.SRT"]
    for name in names:
        ref = buckets.put(buckets.intake, f"channels/street/videos/{name}", b"x")
        assert ingest(upload_push(ref)) == 200
    assert_nothing_happened(buckets, topics)
    assert capfd.readouterr().out.count("ignored an object") == len(names)


def test_empty_object_beside_videos_starts_no_job(
    buckets: Buckets, topics: Topics, ingest: Post, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ingest(upload_push(buckets.put(buckets.intake, VIDEO, b""))) == 200
    assert_nothing_happened(buckets, topics)
    assert "ignored an empty object" in capfd.readouterr().out


def test_empty_version_that_gcsfuse_replaced_starts_no_job(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    empty = buckets.put(buckets.intake, VIDEO, b"")
    whole = buckets.put(buckets.intake, VIDEO, clip)
    push = upload_push(empty)
    resource = json.dumps({"name": VIDEO, "size": "0"}).encode()
    assert ingest(push_body(resource, push["message"]["attributes"])) == 200
    assert_nothing_happened(buckets, topics)
    assert ingest(upload_push(whole)) == 200
    assert manifest_of(buckets, whole).source == whole


def test_by_products_beside_target_pictures_are_ignored(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (*ANYWHERE, "._ada.png", "Ada/.DS_Store", "Ada/old/._1.png"):
        buckets.put(buckets.intake, f"{TARGETS}{name}", b"")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).targets == ()
    line = next(line for line in capfd.readouterr().out.splitlines() if "by-products" in line)
    assert json.loads(line)["ignored"] == len(ANYWHERE) + 3


@pytest.mark.parametrize("name", ["Ada/old/1.png", ".hidden.png", "Ada/old/clip.srt"])
def test_misplaced_target_file_fails_the_job_by_name(
    name: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    buckets.put(buckets.intake, f"{TARGETS}{name}", encode_picture(astronaut()))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(
        buckets, topics, ref, "bad-target", f"targets/{name} is not in the folder of a person. Move it"
    )


@pytest.mark.parametrize("name", ["notes.txt", "Ada/x.mp4.part", "Ada.png"])
def test_target_file_without_a_picture_fails_the_job_by_name(
    name: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    buckets.put(buckets.intake, f"{TARGETS}{name}", b"" if name == "Ada.png" else b"none of our business")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-picture", f"targets/{name} is not a picture that can be read")


def test_target_picture_is_known_by_its_content(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    for name in ("Ada", "Ben.jfif", "Cleo.txt", "Dora/1"):
        buckets.put(buckets.intake, f"{TARGETS}{name}", encode_picture(admiral(), ".jpg"))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).targets == ("Ada", "Ben", "Cleo", "Dora")


def test_empty_policy_never_counts_as_no_policy(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    buckets.put(buckets.intake, POLICY, b"")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-policy", "policy.json")


def test_policy_with_a_byte_order_mark_is_read(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    buckets.put(buckets.intake, POLICY, '\ufeff{"mode": "solid"}'.encode())
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).policy.mode == "solid"


def test_compressed_policy_and_picture_are_read(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    put_compressed(buckets, POLICY, b'{"mode": "solid"}')
    put_compressed(buckets, f"{TARGETS}Ada.png", encode_picture(astronaut()))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    manifest = manifest_of(buckets, ref)
    assert (manifest.policy.mode, manifest.targets) == ("solid", ("Ada",))


def test_compressed_video_is_refused_with_its_compression(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    ref = put_compressed(buckets, VIDEO, clip.read_bytes())
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "not-a-video", "walk.mp4 is stored with gzip compression", "gsutil")


@pytest.mark.parametrize("kind", ["too large", "cut off"])
def test_compressed_policy_that_does_not_unpack_is_named(
    kind: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    data = gzip.compress(bytes(40 * 1024 * 1024) if kind == "too large" else b"{}")
    blob = buckets.client.bucket(buckets.intake).blob(POLICY)
    blob.content_encoding = "gzip"
    blob.upload_from_string(data if kind == "too large" else data[:-9], content_type="application/json")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    failed = failure_of(buckets, object_names.job_of(ref))
    assert failed.message.startswith("policy.json is stored with gzip compression, and does not unpack")
