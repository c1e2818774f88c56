"""Faults of ingest: concurrent plannings, failures during the planning, outages of storage and messaging."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from defacer.ingest import plan_job as planning
from defacer.ingest.engine_adapter import IngestEngine
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.media_engine import TargetGallery
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import job_of
from tests.clips import astronaut, encode_picture, write_clip
from tests.cloud import Buckets, Environment, Post, Topics, upload_push
from tests.functions.ingesting import POLICY, VIDEO, assert_failed, manifest_of, tasks
from tests.media_engines import with_operations
from tests.planned import link_job, plan_job
from tests.proxy import Proxy


def test_duplicate_upload_creates_one_job(buckets: Buckets, topics: Topics, ingest: Post, clip: Path) -> None:
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref, "1")) == 200
    before = buckets.blob(buckets.work, object_names.manifest(job_of(ref))).generation
    buckets.put(buckets.intake, POLICY, b'{"mode": "solid"}')  # after this upload was planned
    assert ingest(upload_push(ref, "2")) == 200
    assert buckets.blob(buckets.work, object_names.manifest(job_of(ref))).generation == before
    assert buckets.names(buckets.work, "jobs/") == [object_names.manifest(job_of(ref))]
    found = tasks(topics)
    assert len(found) == 4
    assert {(task.index, task.manifest.generation) for task in found} == {(0, before), (1, before)}
    assert {event["id"] for event in topics.events()} == {f"{job_of(ref)}-planned"}


def test_four_concurrent_plannings_create_one_job(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    buckets.put(buckets.intake, "channels/street/targets/Eileen.png", encode_picture(astronaut()))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: ingest(upload_push(ref, str(n))), range(4))) == [200] * 4
    manifest = manifest_of(buckets, ref)
    generation = buckets.blob(buckets.work, object_names.manifest(manifest.job)).generation
    assert {task.manifest.generation for task in tasks(topics)} == {generation}
    assert manifest.gallery is not None
    assert buckets.names(buckets.work, "jobs/") == [
        manifest.gallery.name,
        object_names.manifest(manifest.job),
    ]


def test_failed_job_is_not_planned_again(buckets: Buckets, topics: Topics, ingest: Post, clip: Path) -> None:
    buckets.put(buckets.intake, POLICY, b"{")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    buckets.put(buckets.intake, POLICY, b"{}")
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-policy")


def test_two_plannings_leave_one_gallery(buckets: Buckets, topics: Topics, clip: Path) -> None:
    buckets.put(buckets.intake, "channels/street/targets/Eileen.png", b"a picture")
    ref = buckets.put(buckets.intake, VIDEO, clip)

    def quick(pictures: Sequence[TargetPicture], recognizer: str) -> TargetGallery:
        return TargetGallery(("Eileen",), b"quick")

    def overtaken(pictures: Sequence[TargetPicture], recognizer: str) -> TargetGallery:
        planning.plan_upload_job(ref, with_operations(IngestEngine(), embed_targets=quick))
        return TargetGallery(("Eileen", "Grace"), b"overtaken")

    planning.plan_upload_job(ref, with_operations(IngestEngine(), embed_targets=overtaken))
    manifest = manifest_of(buckets, ref)
    assert manifest.targets == ("Eileen",)
    assert manifest.gallery is not None
    assert buckets.get(buckets.work, manifest.gallery.name) == b"quick"
    assert buckets.names(buckets.work, "jobs/") == [
        manifest.gallery.name,
        object_names.manifest(manifest.job),
    ]


def test_job_that_fails_while_planned_leaves_nothing(buckets: Buckets, topics: Topics, clip: Path) -> None:
    buckets.put(buckets.intake, "channels/street/targets/Eileen.png", b"a picture")
    ref = buckets.put(buckets.intake, VIDEO, clip)

    def slow(pictures: Sequence[TargetPicture], recognizer: str) -> TargetGallery:
        failure.fail_job(job_of(ref), "ingest", PermanentError("exhausted", "it took too long"), ref)
        return TargetGallery(("Eileen",), b"embeddings")

    planning.plan_upload_job(ref, with_operations(IngestEngine(), embed_targets=slow))
    job = job_of(ref)
    stays = [object_names.failed(job), object_names.manifest(job), object_names.verdict(job)]
    assert buckets.names(buckets.work, "jobs/") == stays
    assert topics.all(topics.segments) == []
    assert [event["type"] for event in topics.events()] == ["job.failed"]


def test_gallery_of_a_dead_planning_is_deleted_with_the_job(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path
) -> None:
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    failure.fail_job(job_of(ref), "worker", PermanentError(ErrorCode.POISON_SEGMENT, "a fault"))
    buckets.put(buckets.work, object_names.gallery(job_of(ref), "ab" * 32), b"embeddings")
    assert ingest(upload_push(ref)) == 200
    assert buckets.names(buckets.work, object_names.gallery_prefix(job_of(ref))) == []


@pytest.mark.parametrize("failing", range(0, 12, 2))
def test_storage_outage_is_retried_until_it_succeeds(
    failing: int,
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    proxy: Proxy,
    clip: Path,
) -> None:
    buckets.put(buckets.intake, POLICY, b"{}")
    ref = buckets.put(buckets.intake, VIDEO, clip)
    with proxy.failing(lambda method, path: len(proxy.requests) > failing):
        assert ingest(upload_push(ref)) == 503
    assert ingest(upload_push(ref)) == 200
    assert len(manifest_of(buckets, ref).segments) == 2
    assert {task.index for task in tasks(topics)} == {0, 1}
    assert object_names.failed(job_of(ref)) not in buckets.names(buckets.work)


def test_messaging_outage_is_retried_until_it_succeeds(
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    environment: Environment,
    clip: Path,
    pubsub_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = buckets.put(buckets.intake, VIDEO, clip)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    environment(retry_seconds=0.5)
    assert ingest(upload_push(ref)) == 503
    generation = buckets.blob(buckets.work, object_names.manifest(job_of(ref))).generation
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    environment(retry_seconds=20)
    assert ingest(upload_push(ref)) == 200
    assert {task.manifest.generation for task in tasks(topics)} == {generation}


def test_log_lines_name_no_person_and_no_object(
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    clip: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    buckets.put(buckets.intake, "channels/secretchannel/targets/Rumpelstilzchen.png", b"not a picture")
    ref = buckets.put(buckets.intake, "channels/secretchannel/videos/secretvideo.mp4", clip)
    assert ingest(upload_push(ref)) == 200
    output = "".join(capsys.readouterr())
    assert job_of(ref) in output
    assert "bad-picture" in output
    assert all(json.loads(line)["function"] == "ingest" for line in output.splitlines())
    assert "secret" not in output
    assert "Rumpel" not in output


def test_late_duplicate_upload_does_not_change_a_linked_job(
    buckets: Buckets, topics: Topics, ingest: Post, tmp_path: Path
) -> None:
    """Also if a target's picture was deleted since, because `forget` finds the job by its manifest."""
    planned = plan_job(buckets, write_clip(tmp_path / "walk.mp4"))
    kept = planned.manifest.model_copy(update={"targets": ("Eileen",)})
    buckets.put(buckets.work, object_names.manifest(planned.job), kept.model_dump_json().encode())
    link_job(buckets, planned)
    assert ingest(upload_push(planned.manifest.source)) == 200
    assert buckets.names(buckets.work, object_names.JOBS) == [
        object_names.faces(planned.job),
        object_names.manifest(planned.job),
    ]
    assert topics.all(topics.segments) == []
    assert topics.events() == []
