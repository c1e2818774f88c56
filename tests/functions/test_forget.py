"""`forget`: no new job keeps the person, and every result that can be re-rendered hides them."""

import json
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from defacer.commands.app import main
from defacer.ingest.engine_adapter import IngestEngine
from defacer.ingest.plan_job import plan_upload_job
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.documents.manifest import Manifest, Policy
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.media_engine import TargetGallery
from defacer.pipeline.storage import object_names
from defacer.report.tracks import TrackRecord
from tests.clips import frame_seconds
from tests.cloud import Buckets, Environment, Post, Topics
from tests.functions.merging import REPORT, RESULT
from tests.functions.records import failure_of
from tests.media_engines import with_operations
from tests.planned import VIDEO, Planned, do_all_segments, do_segment, faces_of, link_job, plan_job, track_of
from tests.proxy import Proxy

WHITE = Policy(mode="solid", color="#ffffff")
BOX = (100.0, 50.0, 160.0, 120.0)
PICTURE = "channels/street/targets/Eileen.png"
FORGET = ("person", "forget", "Eileen", "--channel", "street", "--yes")
Output = pytest.CaptureFixture[str]


def face_of(planned: Planned, person: str | None, number: int = 0) -> TrackRecord:
    """Return the box of a face in the middle of the frame."""
    return track_of(planned, person, number, BOX)


def publish(buckets: Buckets, planned: Planned, merge: Post, *people: str | None) -> Planned:
    """Publish a job with one track per person. Tracks with a name are kept."""
    tracks = [face_of(planned, person, number) for number, person in enumerate(people)]
    linked = link_job(buckets, planned, faces_of(planned, *tracks))
    do_all_segments(buckets, linked)
    assert merge(linked.done(1)) == 200
    return linked


@pytest.fixture
def shown(buckets: Buckets, topics: Topics, clip: Path, merge: Post) -> Planned:
    """A published video that keeps Eileen and Grace. Only Eileen is forgotten."""
    for name in ("Eileen.png", "Eileen/1.jpg", "Eileen/notes.txt", "Grace.png", "Eileen Grace.png"):
        buckets.put(buckets.intake, f"channels/street/targets/{name}", b"a picture")
    planned = plan_job(buckets, clip, policy=WHITE, targets=("Eileen", "Grace"))
    return publish(buckets, planned, merge, "Eileen", None)


def is_hidden(buckets: Buckets, folder: Path) -> bool:
    """Return whether the face is masked in every frame of the result."""
    video = folder / "result.mp4"
    video.write_bytes(buckets.get(buckets.output, RESULT))
    with av.open(str(video)) as container:
        middles = [frame.to_ndarray(format="rgb24")[85, 130].min() for frame in container.decode(video=0)]
    assert len({middle > 250 for middle in middles}) == 1
    return bool(middles[0] > 250)


def everything(buckets: Buckets) -> str:
    """Return the names and contents of all objects except videos."""
    found = []
    for bucket in (buckets.intake, buckets.work, buckets.output):
        for name in buckets.names(bucket):
            found += [name, "" if name.endswith(".mp4") else buckets.get(bucket, name).decode()]
    return "\n".join(found)


def test_forget_deletes_pictures_and_lists_results(
    buckets: Buckets, topics: Topics, shown: Planned, capsys: Output
) -> None:
    assert main([*FORGET]) == 1
    found = capsys.readouterr()
    assert buckets.names(buckets.intake, "channels/street/targets/") == [
        "channels/street/targets/Eileen Grace.png",
        "channels/street/targets/Grace.png",
    ]
    listed = f"shows Eileen gs://{buckets.output}/{RESULT} (job {shown.job}): it can be re-rendered"
    assert found.out.splitlines()[-1] == listed
    assert len([line for line in found.out.splitlines() if line.startswith("removed ")]) == 3
    assert "1 result and 0 older versions still show the person, and 0 results can't be checked" in found.err
    assert "--rerender" in found.err
    assert "Remove copies outside these buckets" in found.err
    manifest = Manifest.model_validate_json(buckets.get(buckets.work, shown.ref.name))
    assert manifest.targets == ("Grace",)


def test_forget_prints_json_for_programs(
    buckets: Buckets, topics: Topics, shown: Planned, capsys: Output
) -> None:
    assert main([*FORGET, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["person"], found["channel"], found["forgotten"]) == ("Eileen", "street", False)
    assert (len(found["removed"]), found["shows_person"]) == (3, [f"gs://{buckets.output}/{RESULT}"])


def test_forget_rerenders_without_person_and_name(
    buckets: Buckets, topics: Topics, shown: Planned, tmp_path: Path, capsys: Output
) -> None:
    buckets.client.bucket(buckets.intake).blob("channels/street/targets/Eileen Grace.png").delete()
    before = buckets.blob(buckets.output, RESULT)
    assert main([*FORGET, "--rerender"]) == 0
    said = capsys.readouterr()
    assert "Eileen is forgotten" in said.out
    assert "Remove copies outside these buckets" in said.err
    assert is_hidden(buckets, tmp_path)
    assert frame_seconds(tmp_path / "result.mp4") == frame_seconds(shown.clip)
    result = buckets.blob(buckets.output, RESULT)
    assert (result.metadata, result.content_type) == (before.metadata, "video/mp4")
    assert result.generation != before.generation
    published = Published.model_validate_json(buckets.get(buckets.work, object_names.published(shown.job)))
    assert published.result is not None
    assert published.result.generation == result.generation
    report = JobReport.from_bytes(buckets.get(buckets.output, REPORT))
    assert report.targets == ("Grace",)
    assert [track.decision for track in report.tracks] == ["hide", "hide"]
    assert report.tracks[0].distance is None
    assert report.tracks[1] == face_of(shown, None, 1)
    assert "Eileen" not in everything(buckets)
    assert main([*FORGET]) == 1
    assert "Nothing of Eileen is stored" in capsys.readouterr().out


def test_forget_keeps_other_targets_visible(
    buckets: Buckets, topics: Topics, clip: Path, merge: Post, tmp_path: Path
) -> None:
    publish(buckets, plan_job(buckets, clip, policy=WHITE, targets=("Grace",)), merge, "Grace")
    generation = buckets.blob(buckets.output, RESULT).generation
    assert main([*FORGET, "--rerender", "--delete-unrenderable"]) == 1  # nothing of Eileen is stored
    assert buckets.blob(buckets.output, RESULT).generation == generation
    assert not is_hidden(buckets, tmp_path)


@pytest.mark.parametrize("gone", ["source", "replacement"])
def test_forget_lists_results_it_cannot_rerender(
    gone: str, buckets: Buckets, topics: Topics, clip: Path, merge: Post, capsys: Output
) -> None:
    policy = Policy(mode="image" if gone == "replacement" else "blur", source_retention="keep")
    planned = publish(buckets, plan_job(buckets, clip, policy=policy, targets=("Eileen",)), merge, "Eileen")
    if gone == "source":
        buckets.put(buckets.intake, VIDEO, b"a newer upload")
    assert main([*FORGET, "--rerender"]) == 1
    said = capsys.readouterr()
    assert f"(job {planned.job}): it can't be re-rendered: " in said.out
    assert {"source": "its source", "replacement": "the replacement picture"}[gone] in said.out
    assert "--delete-unrenderable" in said.err
    assert buckets.names(buckets.output) == [RESULT, REPORT]
    assert main([*FORGET, "--delete-unrenderable"]) == 0
    assert buckets.names(buckets.output) == []
    assert len(buckets.names(buckets.intake)) == 1


def test_forget_lists_results_that_the_engine_refuses(
    buckets: Buckets, topics: Topics, shown: Planned, capsys: Output
) -> None:
    report = JobReport.from_bytes(buckets.get(buckets.output, REPORT))
    blob = buckets.client.bucket(buckets.output).get_blob(REPORT)
    other = report.model_copy(update={"fingerprint": "0" * 16})
    blob.upload_from_string(other.to_bytes())
    generation = buckets.blob(buckets.output, RESULT).generation
    assert main([*FORGET, "--rerender"]) == 1
    assert "the report is about another video" in capsys.readouterr().out
    assert buckets.blob(buckets.output, RESULT).generation == generation


def test_forget_reports_a_result_without_report(
    buckets: Buckets, topics: Topics, shown: Planned, capsys: Output
) -> None:
    buckets.client.bucket(buckets.output).blob(REPORT).delete()
    assert main([*FORGET, "--rerender", "--delete-unrenderable"]) == 1
    assert f"has no readable report gs://{buckets.output}/{RESULT}" in capsys.readouterr().out
    assert buckets.names(buckets.output) == [RESULT]


def test_forget_removes_the_name_from_reports(
    buckets: Buckets, topics: Topics, clip: Path, merge: Post
) -> None:
    publish(buckets, plan_job(buckets, clip, targets=("Eileen", "Grace")), merge, "Grace", None)
    generation = buckets.blob(buckets.output, RESULT).generation
    assert main([*FORGET]) == 0
    assert "Eileen" not in everything(buckets)
    assert buckets.blob(buckets.output, RESULT).generation == generation


@pytest.mark.parametrize("claimed", [False, True])
def test_forget_fails_only_jobs_that_keep_the_person(
    claimed: bool, buckets: Buckets, topics: Topics, clip: Path, merge: Post, environment: Environment
) -> None:
    """Also during a join, which `forget` waits for."""
    keeping = link_job(buckets, plan_job(buckets, clip, targets=("Eileen", "Grace")))
    do_all_segments(buckets, keeping)
    if claimed:
        environment(lease_seconds=1)
        from defacer.pipeline.lifecycle.lease import HeldLease, lease_options_for

        HeldLease.acquire(buckets.work, object_names.merge_lease(keeping.job), lease_options_for("merging"))
    other = plan_job(buckets, clip, name="channels/street/videos/run.mp4", targets=("Grace",))
    elsewhere = plan_job(buckets, clip, name="channels/other/videos/walk.mp4", targets=("Eileen",))
    assert main([*FORGET]) == 0
    failed = failure_of(buckets, keeping.job)
    assert (failed.stage, failed.code) == ("forget", "person-forgotten")
    assert "Upload the video again" in failed.message
    assert "Eileen" not in failed.message
    assert [event["subject"] for event in topics.events()] == [keeping.job]
    for each in (other, elsewhere):
        assert buckets.names(buckets.work, object_names.job_prefix(each.job)) == [each.ref.name]
    assert buckets.names(buckets.work, object_names.job_prefix(keeping.job)) == [
        object_names.failed(keeping.job),
        keeping.ref.name,
        object_names.verdict(keeping.job),
    ]
    assert merge(keeping.done(0)) == 200
    assert buckets.names(buckets.output) == []


def test_job_planned_during_forget_fails(buckets: Buckets, topics: Topics, clip: Path) -> None:
    """The planning has read the pictures, and `forget` can't find a job without a manifest."""
    buckets.put(buckets.intake, "channels/street/targets/Eileen.png", b"a picture")
    source = buckets.put(buckets.intake, VIDEO, clip)

    def embed(pictures: Sequence[TargetPicture], _: str) -> TargetGallery:
        assert main([*FORGET]) == 0
        return TargetGallery(tuple(picture.person for picture in pictures), b"embeddings")

    plan_upload_job(
        source, with_operations(IngestEngine(), embed_targets=embed, require_replacement=lambda ref: None)
    )
    job = object_names.job_of(source)
    failed = failure_of(buckets, job)
    assert failed.code == "target-gone"
    assert topics.all(topics.segments) == []
    assert buckets.names(buckets.work, object_names.JOBS) == [
        object_names.failed(job),
        object_names.verdict(job),
    ]
    assert "Eileen" not in everything(buckets)


def test_forget_requires_a_channel(capsys: Output) -> None:
    assert main(["person", "forget", "Eileen", "--yes"]) == 2
    assert "--channel" in capsys.readouterr().err


def test_forget_reports_an_unknown_name(buckets: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
    buckets.put(buckets.intake, "channels/street/targets/Eileen.png", b"a picture")
    forget = ["person", "forget", "eileen", "--channel", "street", "--yes"]
    assert main(forget) == 1
    said = capsys.readouterr().out
    assert "Nothing of eileen is stored" in said
    assert "name: Eileen" in said
    assert main([*forget, "--json"]) == 1
    assert json.loads(capsys.readouterr().out).items() >= {"found": False, "forgotten": False}.items()
    assert buckets.names(buckets.intake) == ["channels/street/targets/Eileen.png"]


def test_quiet_forget_prints_results_only(buckets: Buckets, shown: Planned, capsys: Output) -> None:
    assert main([*FORGET, "--quiet"]) == 1
    found = capsys.readouterr()
    assert "shows Eileen" in found.out
    assert found.err == ""


def test_forget_lists_deleted_pictures_as_json_after_an_error(
    buckets: Buckets, shown: Planned, proxy: Proxy, capsys: Output
) -> None:
    with proxy.failing(lambda method, path: method == "DELETE" and "notes.txt" in path):
        assert main([*FORGET, "--json"]) == 1
    found = capsys.readouterr()
    assert json.loads(found.out)["error"] in found.err
    assert json.loads(found.out)["removed"]


def test_forget_deletes_kept_segments(buckets: Buckets, shown: Planned) -> None:
    """They show the person."""
    buckets.put(buckets.work, object_names.segment_video(shown.job, 0, "ab" * 32), b"with the person in it")
    buckets.put(buckets.work, object_names.faces(shown.job), b"with the person's name")
    main(["person", "forget", "Eileen", "--channel", "street", "--yes"])
    assert buckets.names(buckets.work, object_names.segments_prefix(shown.job)) == []
    assert object_names.faces(shown.job) not in buckets.names(buckets.work)


def test_late_output_of_a_forgotten_person_is_deleted(
    buckets: Buckets, topics: Topics, clip: Path, worker: Post
) -> None:
    """The output shows the person, and the manifest does not name them any more."""
    keep = Policy(keep_intermediates=True)
    linked = link_job(buckets, plan_job(buckets, clip, policy=keep, targets=("Eileen",)))
    assert main([*FORGET]) == 0
    do_segment(buckets, linked, 0)
    assert worker(linked.task(0)) == 200
    assert buckets.names(buckets.work, object_names.segments_prefix(linked.job)) == []
