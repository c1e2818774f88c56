"""`forget`, interrupted at any request and with concurrent objects: in the end nothing is left of the person."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from defacer.commands.app import main
from defacer.engine_host import RerenderEngine
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.storage import object_names, objects
from tests.cloud import Buckets, Environment, Post, Topics
from tests.functions.merging import REPORT, RESULT, expire_lease
from tests.functions.test_forget import FORGET, PICTURE, face_of, publish
from tests.planned import VIDEO, Planned, faces_of, link_job, plan_job
from tests.proxy import open_proxy
from tests.versions import Versions

KEEP = Policy(keep_intermediates=True)
RUN, LATER = "channels/street/videos/run.mp4", "channels/street/videos/later.mp4"
RUN_RESULT, RUN_REPORT = "channels/street/run.mp4", "channels/street/run.report.jsonl"
SEEN, HIDDEN = b"Eileen is seen here", b"hidden"


@pytest.fixture
def storage(
    buckets: Buckets, storage_address: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Versions]:
    """The storage of this test, which can delete versions."""
    with open_proxy(storage_address, Versions) as opened:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", opened.address)
        environment()
        yield opened


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the re-render by a word, because these tests are about the objects around it."""

    def rerender(_: RerenderEngine, report: JobReport, replacement: bytes | None, out: Path) -> JobReport:
        assert all(track.decision == "hide" for track in report.tracks)
        out.write_bytes(HIDDEN)
        return report

    monkeypatch.setattr(RerenderEngine, "rerender", rerender)


def with_versions(buckets: Buckets, number: int, environment: Environment) -> Buckets:
    """Create three buckets. The output bucket has object versioning."""
    names = [f"{number}-{name}" for name in (buckets.intake, buckets.work, buckets.output)]
    for name in names:
        bucket = buckets.client.bucket(name)
        bucket.versioning_enabled = name == names[2]
        buckets.client.create_bucket(bucket)
    environment(**dict(zip(("intake_bucket", "work_bucket", "output_bucket"), names, strict=True)))
    return Buckets(buckets.client, *names)


def publish_result(buckets: Buckets, planned: Planned, person: str | None) -> None:
    """Publish a result and a report as merge does, with a track that is kept if it has a name."""
    manifest = planned.manifest
    faces = faces_of(planned, face_of(planned, person))
    report = JobReport(
        **manifest.model_dump(include={"job", "source", "result", "policy", "targets"}),
        frames=1,
        audio_packets=0,
        fingerprint="0" * 16,
        dropped=(),
        segments=(),
        faces=faces.head,
        tracks=faces.tracks,
    )
    metadata = {
        object_names.OF_JOB: planned.job,
        object_names.OF_SOURCE: manifest.source.name,
        object_names.OF_SOURCE_GENERATION: str(manifest.source.generation),
    }
    contents = {
        manifest.result: SEEN if person else HIDDEN,
        manifest.report: report.to_bytes(),
    }
    for name, data in contents.items():
        there = objects.find_blob(buckets.output, name)
        generation = int(there.generation) if there else 0
        ref = objects.replace(buckets.output, name, data, generation=generation, metadata=metadata)
        if name == manifest.result:
            published = Published(job=planned.job, result=ref, report=manifest.report)
            buckets.put(
                buckets.work, object_names.published(planned.job), published.model_dump_json().encode()
            )


def stage(buckets: Buckets, clip: Path, *, renderable: bool) -> Planned:
    """Create a channel with everything that `forget` can find, and return the job in progress."""
    buckets.put(buckets.intake, PICTURE, SEEN)
    publish_result(
        buckets, plan_job(buckets, clip, targets=("Eileen",)), "Eileen"
    )  # a newer upload replaces it
    kept = plan_job(buckets, clip, policy=KEEP, targets=("Eileen", "Grace"))
    publish_result(buckets, kept, "Eileen")
    if not renderable:
        buckets.client.bucket(buckets.intake).blob(VIDEO).delete()
    buckets.put(buckets.work, object_names.segment_video(kept.job, 0, "ab" * 32), SEEN)
    buckets.put(buckets.work, object_names.faces(kept.job), SEEN)
    publish_result(buckets, plan_job(buckets, clip, name=RUN, targets=("Eileen", "Grace")), None)
    refused = object_names.job_id(buckets.intake, LATER, 1)
    failure.fail_job(
        refused, "ingest", PermanentError("bad-target", f"gs://{buckets.intake}/{PICTURE} is no picture")
    )
    return link_job(buckets, plan_job(buckets, clip, name=LATER, targets=("Eileen",)))


def everything(buckets: Buckets) -> Iterator[bytes]:
    """Return the names and contents of all versions of all objects."""
    for bucket in (buckets.intake, buckets.work, buckets.output):
        for blob in objects.list_versions(bucket, ""):
            yield blob.name.encode()
            if not object_names.parse_video(blob.name):
                yield objects.read(objects.reference(blob))


@pytest.mark.slow
@pytest.mark.usefixtures("rendered", "topics")
@pytest.mark.parametrize("how", ["--rerender", "--delete-unrenderable"])
def test_forget_continues_after_a_crash_before_any_write(
    how: str,
    buckets: Buckets,
    clip: Path,
    storage: Versions,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tries each write. A crash at a read has the same effect as one at the next write."""
    renderable = how == "--rerender"
    for crash_after in itertools.count():
        new = with_versions(buckets, crash_after, environment)
        under_way = stage(new, clip, renderable=renderable)
        before = len(storage.requests)

        def crashes(method: str, path: str) -> bool:
            written = [method for method, _ in storage.requests[before:] if method != "GET"]  # noqa: B023
            return len(written) > crash_after  # noqa: B023

        storage.fails = crashes
        with monkeypatch.context() as crashing:
            crashing.setattr(objects, "retries", lambda: None)
            code = main([*FORGET, how])
        has_crashed = crashes("", "")
        storage.fails = lambda method, path: False
        if has_crashed:
            assert code == 1
            expire_lease(new, object_names.merge_lease(under_way.job))
            code = main([*FORGET, how])
        assert code == 0
        assert not [found for found in everything(new) if b"Eileen" in found]
        left = {
            blob.name: objects.read(objects.reference(blob)) for blob in objects.list_versions(new.output, "")
        }
        assert left.get(RESULT) == (HIDDEN if renderable else None)
        assert set(left) == {RUN_RESULT, RUN_REPORT, *((RESULT, REPORT) if renderable else ())}
        if renderable:
            result = new.blob(new.output, RESULT)
            published = new.json(new.work, object_names.published(result.metadata[object_names.OF_JOB]))
            assert published["result"]["generation"] == result.generation
        if not has_crashed:
            break
    assert crash_after > 20


@pytest.mark.parametrize("what", ["a picture", "a job", "a result"])
def test_forget_reports_concurrent_objects(
    what: str,
    buckets: Buckets,
    topics: Topics,
    clip: Path,
    merge: Post,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(buckets, plan_job(buckets, clip, targets=("Eileen",)), merge, "Eileen")
    came: list[Planned | ObjectRef] = []

    def rerender(_: RerenderEngine, report: JobReport, replacement: bytes | None, out: Path) -> JobReport:
        out.write_bytes(HIDDEN)
        if not came:
            if what == "a picture":
                came.append(buckets.put(buckets.intake, PICTURE, b"a picture"))
                return report
            later = plan_job(buckets, clip, name=LATER, targets=("Eileen",))
            came.append(publish(buckets, later, merge, "Eileen") if what == "a result" else later)
        return report

    monkeypatch.setattr(RerenderEngine, "rerender", rerender)
    assert main([*FORGET, "--rerender"]) == 1
    said = capsys.readouterr()
    told = {
        "a picture": str(came[0]),
        "a job": f"job {getattr(came[0], 'job', '')}",
        "a result": f"gs://{buckets.output}/channels/street/later.mp4",
    }[what]
    assert f"new {told}\n" in said.out
    assert "Forget the person again" in said.err
    assert "is forgotten" not in said.out
    assert main([*FORGET, "--rerender"]) == 0
    assert "is forgotten" in capsys.readouterr().out
