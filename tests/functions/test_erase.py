"""`erase` leaves nothing of a job or a channel, whatever is running at that moment."""

import io
import json
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from google.cloud import storage

from defacer.commands.app import main
from defacer.ingest.engine_adapter import IngestEngine
from defacer.ingest.plan_job import plan_upload_job
from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.merge.link_step import link_and_dispatch
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.media_engine import JoinedVideo, JoinInput, LinkedFaces, LinkInput, TargetGallery
from defacer.pipeline.privacy.erase import Subject, erase, find_objects
from defacer.pipeline.storage import object_names, objects
from tests.cloud import Buckets, Environment, Post, Topics, upload_push
from tests.functions.linking import store_inputs_of_link
from tests.functions.merging import REPORT, RESULT
from tests.functions.working import work
from tests.media_engines import with_operations
from tests.planned import (
    VIDEO,
    Planned,
    do_all_segments,
    do_segment,
    find_segment,
    link_job,
    linked_of,
    plan_job,
)
from tests.proxy import Proxy
from tests.servers import wait_until

CHANNEL = Subject(channel="street")
OTHER = "channels/other/videos/walk.mp4"
POLICY, TARGET = "channels/street/policy.json", "channels/street/targets/Eileen.png"


def erase_job(job: str) -> list[str]:
    """Erase the subject and return the names of the deleted objects."""
    removed: list[ObjectRef] = []
    erase(Subject(job=job), removed.append, lambda _: None)
    return [ref.name for ref in removed]


def assert_erased(buckets: Buckets, *planned: Planned) -> None:
    """Assert that only the marks of these jobs are left, and that they contain nothing about the jobs."""
    for each in planned:
        mark = object_names.failed(each.job)
        assert buckets.names(buckets.work, object_names.job_prefix(each.job)) == [mark]
        said = buckets.get(buckets.work, mark).decode()
        assert not any(word in said for word in ("street", "walk", "channels", buckets.intake))
        for bucket in (buckets.intake, buckets.output):
            assert not [blob for blob in buckets.client.list_blobs(bucket) if is_result_of(blob, each)]


def is_result_of(blob: storage.Blob, planned: Planned) -> bool:
    source = planned.manifest.source
    is_source = (blob.bucket.name, blob.name, blob.generation) == (
        source.bucket,
        source.name,
        source.generation,
    )
    return is_source or (blob.metadata or {}).get("defacer-job") == planned.job


def publish(buckets: Buckets, planned: Planned, merge: Post) -> Planned:
    linked = link_job(buckets, planned)
    do_all_segments(buckets, linked)
    last = len(linked.manifest.segments) - 1
    assert merge(linked.done(last)) == 200
    return linked


def test_erase_deletes_one_job_from_all_buckets(
    buckets: Buckets, topics: Topics, planned: Planned, clip: Path, merge: Post
) -> None:
    published = publish(buckets, planned, merge)
    other = publish(buckets, plan_job(buckets, clip, name="channels/street/videos/run.mp4"), merge)
    buckets.put(buckets.intake, POLICY, b"{}")
    events = topics.events()
    removed = erase_job(published.job)
    work = [planned.ref.name, object_names.published(planned.job), object_names.verdict(planned.job)]
    assert sorted(removed) == sorted([RESULT, REPORT, VIDEO, *work])
    assert_erased(buckets, published)
    assert buckets.names(buckets.output) == ["channels/street/run.mp4", "channels/street/run.report.jsonl"]
    assert buckets.names(buckets.intake) == [POLICY, "channels/street/videos/run.mp4"]
    assert buckets.names(buckets.work, object_names.job_prefix(other.job)) == [
        other.ref.name,
        object_names.published(other.job),
        object_names.verdict(other.job),
    ]
    assert topics.events() == events


def test_erase_keeps_source_and_result_of_newer_upload(
    buckets: Buckets, topics: Topics, planned: Planned, clip: Path, merge: Post
) -> None:
    publish(buckets, planned, merge)
    newer = publish(buckets, plan_job(buckets, clip), merge)
    removed = erase_job(planned.job)
    assert removed == [
        object_names.published(planned.job),
        object_names.verdict(planned.job),
        planned.ref.name,
    ]
    assert buckets.names(buckets.output) == [RESULT, REPORT]
    assert buckets.blob(buckets.intake, VIDEO).generation == newer.manifest.source.generation


def test_erase_deletes_one_channel_with_all_its_jobs(
    buckets: Buckets, topics: Topics, planned: Planned, clip: Path, merge: Post, ingest: Post
) -> None:
    published = publish(buckets, planned, merge)
    under_way = link_job(buckets, plan_job(buckets, clip, name="channels/street/videos/a/run.mp4"))
    do_segment(buckets, under_way, 0)
    refused = buckets.put(buckets.intake, "channels/street/videos/no.mp4", b"no video")
    assert ingest(upload_push(refused)) == 200
    buckets.client.bucket(buckets.intake).blob(refused.name).delete()  # only failed.json names the channel
    waiting = buckets.put(buckets.intake, "channels/street/videos/later.mp4", clip)
    superseded = plan_job(buckets, clip, name="channels/street/videos/old.mp4")
    buckets.client.bucket(buckets.intake).blob(superseded.manifest.source.name).delete()
    for name in (POLICY, TARGET, "channels/street/videos.txt"):
        buckets.put(buckets.intake, name, b"whatever")
    buckets.put(buckets.output, "channels/street/notes.txt", b"put there by hand")
    buckets.put(buckets.intake, "channels/streets/policy.json", b"{}")
    other = publish(buckets, plan_job(buckets, clip, name=OTHER), merge)

    assert main(["job", "erase", "channels/street", "--yes"]) == 0

    assert_erased(buckets, published, under_way, superseded)
    marks = {object_names.failed(each.job) for each in (published, under_way, superseded)}
    marks |= {object_names.failed(object_names.job_of(ref)) for ref in (refused, waiting)}
    others = {other.ref.name, object_names.published(other.job), object_names.verdict(other.job)}
    assert set(buckets.names(buckets.work)) == marks | others
    assert buckets.names(buckets.intake) == [OTHER, "channels/streets/policy.json"]
    assert buckets.names(buckets.output) == ["channels/other/walk.mp4", "channels/other/walk.report.jsonl"]
    assert find_objects(CHANNEL).objects == ()


@pytest.mark.parametrize(
    ("subject", "crash_after"),
    [
        *((("job", "channel")[n // 6 % 2], n) for n in range(0, 29, 6)),
        *(pytest.param("job", n, marks=pytest.mark.slow) for n in range(29) if n % 12),
        *(pytest.param("channel", n, marks=pytest.mark.slow) for n in range(29) if n % 12 != 6),
    ],
)
def test_erase_continues_after_a_crash_at_any_request(
    crash_after: int,
    subject: str,
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    merge: Post,
    proxy: Proxy,
    environment: Environment,
) -> None:
    publish(buckets, planned, merge)
    what = Subject(job=planned.job) if subject == "job" else CHANNEL
    environment(lease_seconds=1)
    before = len(proxy.requests)
    with (
        proxy.failing(lambda method, path: len(proxy.requests) - before > crash_after),
        pytest.raises(RetryableError),
    ):
        erase(what, lambda _: None, lambda _: None)
    erase(what, lambda _: None, lambda _: None)
    assert_erased(buckets, planned)
    assert buckets.names(buckets.intake) + buckets.names(buckets.output) == []


def test_running_worker_leaves_nothing_of_an_erased_job(
    buckets: Buckets, topics: Topics, job: Planned
) -> None:
    """Before and after linking: it writes its output after everything else was deleted."""
    erased: list[list[str]] = []
    work(job, 0, "slow", lambda _: erased.append(erase_job(job.job)))
    assert len(erased) == 1
    assert_erased(buckets, job)


def test_redelivery_deletes_late_output_of_an_erased_job(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    erase_job(job.job)
    find_segment(buckets, job, 0)
    do_segment(buckets, job, 0)
    buckets.put(buckets.work, object_names.segment_lease(job.job, "detect", 0), b"a dead worker's")
    buckets.put(buckets.work, object_names.split_mark(job.job, job.segment_task(0).step, 0, ""), b"{}")
    assert worker(job.task(0)) == 200
    assert_erased(buckets, job)
    assert topics.events() == []


@pytest.mark.parametrize("message", ["upload", "task", "done", "given up"])
def test_message_after_erase_creates_nothing(
    message: str,
    buckets: Buckets,
    topics: Topics,
    job: Planned,
    ingest: Post,
    worker: Post,
    merge: Post,
    dead_letter: Post,
    proxy: Proxy,
) -> None:
    """Each step reads the state at its start, so it writes nothing that it would have to delete."""
    erase_job(job.job)
    before = len(proxy.requests)
    deliver = {
        "upload": lambda: ingest(upload_push(job.manifest.source)),
        "task": lambda: worker(job.task(0)),
        "done": lambda: merge(job.done(0)),
        "given up": lambda: dead_letter(job.task(0)),
    }[message]
    assert deliver() == 200
    assert not [path for _, path in proxy.requests[before:] if path.startswith("/upload/")]
    assert_erased(buckets, job)
    assert topics.events() == []


def test_running_planning_leaves_nothing_of_an_erased_job(
    buckets: Buckets, topics: Topics, clip: Path
) -> None:
    buckets.put(buckets.intake, TARGET, b"a picture")
    source = buckets.put(buckets.intake, VIDEO, clip)
    job = object_names.job_of(source)

    def embed(pictures: Sequence[TargetPicture], _: str) -> TargetGallery:
        erase_job(job)
        return TargetGallery(("Eileen",), b"embeddings")

    plan_upload_job(
        source, with_operations(IngestEngine(), embed_targets=embed, require_replacement=lambda ref: None)
    )
    assert buckets.names(buckets.work, "jobs/") == [object_names.failed(job)]
    assert buckets.names(buckets.intake) == [TARGET]
    assert topics.all(topics.segments) == []
    assert topics.events() == []


@pytest.mark.parametrize("moment", ["linking", "writing the faces"])
def test_running_linking_leaves_nothing_of_an_erased_job(
    moment: str, buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy
) -> None:
    store_inputs_of_link(buckets, planned)
    reached: list[str] = []
    erased: list[str] = []

    def slow(job: LinkInput) -> LinkedFaces:
        assert len(list(job.detections)) == 2
        if moment == "linking":
            erased.extend(erase_job(planned.job))
        reached.append("linked")
        return linked_of(planned)

    def erase_before_next_upload(method: str, path: str) -> bool:
        if reached == ["linked"] and method == "POST" and path.startswith("/upload/") and not erased:
            reached.append("writing the faces")
            erased.extend(erase_job(planned.job))
        return False

    proxy.fails = erase_before_next_upload
    link_and_dispatch(planned.segment_done(0), "slow", with_operations(MergeEngine(), link=slow))
    assert VIDEO in erased
    assert_erased(buckets, planned)
    assert topics.all(topics.segments) == []


class BackgroundErase:
    """Erase once, in a thread, and wait until the job is marked."""

    def __init__(self, buckets: Buckets, job: str, pool: ThreadPoolExecutor):
        self._buckets, self._job, self._pool = buckets, job, pool
        self._lock = threading.Lock()
        self.erasing: Future[list[str]] | None = None

    def start(self) -> None:
        with self._lock:
            if self.erasing is not None:
                return
            self.erasing = self._pool.submit(erase_job, self._job)
        mark = object_names.failed(self._job)
        wait_until(lambda: mark in self._buckets.names(self._buckets.work), "the job was marked")


@pytest.mark.parametrize("moment", ["joining", "copying the result", "writing the report"])
def test_erase_rolls_back_a_running_publication(
    moment: str, buckets: Buckets, topics: Topics, linked: Planned, proxy: Proxy
) -> None:
    """The merge holds its lease, so the erasure waits, and the merge reads the state again after it has published."""
    do_all_segments(buckets, linked)
    with ThreadPoolExecutor(1) as pool:
        background = BackgroundErase(buckets, linked.job, pool)
        proxy.fails = at(moment, buckets, background.start)

        def slow(parts: JoinInput) -> JoinedVideo:
            if moment == "joining":
                background.start()
            return MergeEngine().join(parts)

        join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=slow))
        assert background.erasing is not None
        assert VIDEO in background.erasing.result(60)
    assert_erased(buckets, linked)
    assert buckets.names(buckets.output) == []
    assert topics.events() == []


@pytest.mark.parametrize("moment", ["copying the result", "writing the report"])
def test_merge_with_expired_lease_rolls_back_after_erase(
    moment: str,
    buckets: Buckets,
    topics: Topics,
    linked: Planned,
    proxy: Proxy,
    environment: Environment,
) -> None:
    """The whole erasure runs between two requests of the merge."""
    do_all_segments(buckets, linked)
    environment(lease_seconds=1)
    erased: list[list[str]] = []

    def once() -> None:
        if not erased:
            erased.append([])
            erased[0] += erase_job(linked.job)

    proxy.fails = at(moment, buckets, once)
    try:
        join_and_publish(linked.segment_done(0), "1", MergeEngine())
    except RetryableError:  # it can detect that its lease was deleted
        join_and_publish(linked.segment_done(0), "1", MergeEngine())
    assert VIDEO in erased[0]
    assert_erased(buckets, linked)
    assert buckets.names(buckets.output) == []
    assert topics.events() == []


def test_failed_publication_rolls_back_after_erase(
    buckets: Buckets, topics: Topics, linked: Planned, proxy: Proxy, environment: Environment
) -> None:
    """The copy of the result lands after the erasure, and no later message would find it."""
    do_all_segments(buckets, linked)
    environment(lease_seconds=1)
    erased: list[list[str]] = []

    def erase_while_copying(method: str, path: str) -> bool:
        if "/rewriteTo/" in path and not erased:
            erased.append([])
            erased[0] += erase_job(linked.job)
            landed = buckets.client.bucket(buckets.output).blob(linked.manifest.result)
            landed.metadata = {object_names.OF_JOB: linked.job}
            landed.upload_from_string(b"a copy")
        return False

    proxy.fails = erase_while_copying
    with pytest.raises(RetryableError):
        join_and_publish(linked.segment_done(0), "1", MergeEngine())
    assert VIDEO in erased[0]
    assert buckets.names(buckets.output) == []
    assert_erased(buckets, linked)


def at(moment: str, buckets: Buckets, do: Callable[[], None]) -> Callable[[str, str], bool]:
    """Return a proxy's hook that calls `action` when this request arrives, and then lets it through."""

    def look(method: str, path: str) -> bool:
        now = (
            None
            if "/rewriteTo/" not in path
            else "writing the report"
            if ".report.jsonl/rewriteTo/" in path
            else "copying the result"
        )
        if now == moment:
            do()
        return False

    return look


def test_erase_deletes_the_failure_message(buckets: Buckets, topics: Topics, planned: Planned) -> None:
    failure.fail_job(
        planned.job, "worker", PermanentError("source-gone", f"gs://{buckets.intake}/{VIDEO} is gone")
    )
    removed = erase_job(planned.job)
    assert planned.ref.name in removed
    assert_erased(buckets, planned)


def test_erase_deletes_each_noncurrent_version(
    buckets: Buckets, topics: Topics, clip: Path, environment: Environment, proxy: Proxy
) -> None:
    """fake-gcs-server deletes no version of a versioned bucket, so this test checks the requests."""
    for kind in ("intake", "output"):
        bucket = buckets.client.bucket(f"versioned-{getattr(buckets, kind)}")
        bucket.versioning_enabled = True
        buckets.client.create_bucket(bucket)
        environment(**{f"{kind}_bucket": bucket.name})
    intake, output = f"versioned-{buckets.intake}", f"versioned-{buckets.output}"
    refs = [buckets.put(intake, VIDEO, content) for content in (b"first", b"second")]
    refs.append(buckets.put(intake, TARGET, b"a picture"))
    refs += [buckets.put(output, RESULT, content) for content in (b"first", b"second")]
    assert {objects.reference(blob) for blob in objects.list_versions(intake, "channels/")} == set(refs[:3])
    assert set(find_objects(CHANNEL).objects) == set(refs)
    first = object_names.job_id(intake, VIDEO, refs[0].generation)
    assert find_objects(Subject(job=first)).objects == (refs[0],)
    with pytest.raises(PermanentError, match="Stop the uploads"):
        erase(CHANNEL, lambda _: None, lambda _: None)
    deleted = [path for method, path in proxy.requests if method == "DELETE"]
    for ref in refs:
        assert any(f"/b/{ref.bucket}/" in path and f"generation={ref.generation}" in path for path in deleted)
    assert all("generation=" in path for path in deleted)


@pytest.mark.parametrize("policy", [Policy(), Policy(keep_intermediates=True)])
def test_erase_deletes_kept_intermediates(
    policy: Policy, buckets: Buckets, topics: Topics, clip: Path, merge: Post
) -> None:
    planned = publish(buckets, plan_job(buckets, clip, policy=policy), merge)
    kept = object_names.faces(planned.job) in buckets.names(buckets.work)
    assert kept == policy.keep_intermediates
    erase_job(planned.job)
    assert_erased(buckets, planned)


@pytest.mark.parametrize("answer", ["", "\n", "no\n"])
def test_erase_without_confirmation_reports_the_count(
    answer: str,
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert main(["job", "erase", planned.job]) == (1 if answer else 2)
    said = capsys.readouterr()
    assert (
        f"2 objects of 1 job: 1 in gs://{buckets.intake}, 1 in gs://{buckets.work}. Erase all of it?"
        in said.err
    )
    assert ("The standard input has no answer. Add --yes" in said.err) == (not answer)
    assert buckets.names(buckets.intake) == [VIDEO]
    assert buckets.names(buckets.work) == [planned.ref.name]


def test_erase_accepts_a_piped_confirmation(
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["job", "erase", planned.job]) == 0
    assert f"Erased {planned.job}." in capsys.readouterr().out
    assert_erased(buckets, planned)


def test_erase_prints_each_object_and_is_idempotent(
    buckets: Buckets, topics: Topics, planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["job", "erase", planned.job, "--yes"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"removed {planned.manifest.source}",
        f"removed {planned.ref}",
        f"Erased {planned.job}.",
    ]
    assert main(["job", "erase", planned.job]) == 0
    assert capsys.readouterr().out == f"Nothing of {planned.job} is stored.\n"


def test_erase_prints_json_for_programs(
    buckets: Buckets, topics: Topics, planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["job", "erase", planned.job, "--yes", "--json"]) == 0
    removed = [str(planned.manifest.source), str(planned.ref)]
    assert json.loads(capsys.readouterr().out) == {
        "subject": planned.job,
        "found": True,
        "removed": removed,
    }


def test_erase_lists_removed_objects_as_json_after_an_error(
    buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    with proxy.failing(lambda method, path: method == "DELETE" and "manifest.json" in path):
        assert main(["job", "erase", planned.job, "--yes", "--json"]) == 1
    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert shown["removed"] == [str(planned.manifest.source)]
    assert shown["error"] in said.err


@pytest.mark.parametrize("what", ["street", "channels/", "channels/a/b", "jobs/0", "0" * 19, "A" * 20, ""])
def test_erase_refuses_an_unknown_subject(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "erase", what, "--yes"]) == 2
    assert "neither a job" in capsys.readouterr().err


def test_erase_reports_a_storage_outage_and_can_be_repeated(
    buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy, environment: Environment,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with proxy.failing(lambda method, path: method == "DELETE"):
        assert main(["job", "erase", planned.job, "--yes"]) == 1
    assert "Run the same command again" in capsys.readouterr().err
    environment(lease_seconds=1)
    assert main(["job", "erase", planned.job, "--yes"]) == 0
    assert_erased(buckets, planned)


def test_erase_names_missing_variables(
    monkeypatch: pytest.MonkeyPatch, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DEFACER_WORK_BUCKET")
    environment()
    assert main(["job", "erase", "0" * 20, "--yes"]) == 2
    assert "DEFACER_WORK_BUCKET" in capsys.readouterr().err


@pytest.mark.parametrize("name", [object_names.manifest, object_names.failed])
def test_unreadable_foreign_job_does_not_block_erase(
    name: Callable[[str], str],
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command names it, because it might belong to this channel."""
    broken = "0" * 20
    buckets.put(buckets.work, name(broken), b"{nothing that can be read")
    for _ in range(2):
        assert main(["job", "erase", "channels/street", "--yes"]) == 1
        assert f"unreadable job {broken}" in capsys.readouterr().out
        assert_erased(buckets, planned)
    assert main(["job", "erase", broken, "--yes"]) == 0
    assert main(["job", "erase", "channels/street", "--yes"]) == 0
